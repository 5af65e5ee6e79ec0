-- Finished matches. A row here exists exactly once per match, however often its result is delivered.

CREATE TABLE matches (
    -- 128-bit match id (UUID version 7), big-endian; the idempotency key of a delivery.
    match_id BLOB NOT NULL PRIMARY KEY CHECK (length(match_id) = 16),
    -- Name of the game mode, such as last_ship.
    mode TEXT NOT NULL CHECK (length(mode) BETWEEN 1 AND 32),
    -- Name of the rules preset at the time.
    rules TEXT NOT NULL CHECK (length(rules) BETWEEN 1 AND 32),
    -- Hash of rules and arena, 16 hex digits; the replay holds their text.
    rules_hash TEXT NOT NULL CHECK (length(rules_hash) = 16),
    -- Name of the arena.
    arena TEXT NOT NULL CHECK (length(arena) BETWEEN 1 AND 32),
    -- First countdown, Unix time in milliseconds.
    started_ms BIGINT NOT NULL,
    -- End of the match, Unix time in milliseconds.
    ended_ms BIGINT NOT NULL,
    -- Length in ticks of 1/60 s, waiting included.
    ticks BIGINT NOT NULL CHECK (ticks >= 0),
    -- Rounds played, drawn ones included.
    rounds SMALLINT NOT NULL CHECK (rounds BETWEEN 0 AND 255),
    -- Seat that stands above all others; null when the top places are equal.
    winner SMALLINT CHECK (winner BETWEEN 0 AND 7),
    -- SHA-256 of the delivered record: the same again is ignored, another one is a contradiction.
    body_sha256 BLOB NOT NULL CHECK (length(body_sha256) = 32)
);

CREATE INDEX matches_by_end ON matches (ended_ms DESC, match_id DESC);

CREATE TABLE match_seats (
    -- The match.
    match_id BLOB NOT NULL REFERENCES matches (match_id) ON DELETE CASCADE,
    -- Number of the seat, from 0.
    seat SMALLINT NOT NULL CHECK (seat BETWEEN 0 AND 7),
    -- Name of the player or of the pilot.
    name TEXT NOT NULL,
    -- 1: flown by the server from the first countdown on.
    pilot SMALLINT NOT NULL CHECK (pilot IN (0, 1)),
    -- 1: the player was gone at the end.
    has_left SMALLINT NOT NULL CHECK (has_left IN (0, 1)),
    -- Place at the end, 1 is best; equals share the better place.
    placement SMALLINT NOT NULL CHECK (placement BETWEEN 1 AND 8),
    -- Rounds won.
    rounds_won SMALLINT NOT NULL CHECK (rounds_won BETWEEN 0 AND 255),
    -- Ships destroyed.
    kills SMALLINT NOT NULL CHECK (kills BETWEEN 0 AND 255),
    -- Own ships lost.
    deaths SMALLINT NOT NULL CHECK (deaths BETWEEN 0 AND 255),
    -- Ships damaged that somebody else destroyed.
    assists SMALLINT NOT NULL CHECK (assists BETWEEN 0 AND 255),
    -- Shots fired.
    shots INTEGER NOT NULL CHECK (shots BETWEEN 0 AND 65535),
    -- Shots that hit.
    hits INTEGER NOT NULL CHECK (hits BETWEEN 0 AND 65535),
    -- Ticks alive in live phases.
    survival_ticks BIGINT NOT NULL CHECK (survival_ticks >= 0),
    -- Most kills without a death between.
    streak_longest SMALLINT NOT NULL CHECK (streak_longest BETWEEN 0 AND 255),
    PRIMARY KEY (match_id, seat)
);

CREATE TABLE match_replays (
    -- The match.
    match_id BLOB NOT NULL PRIMARY KEY REFERENCES matches (match_id) ON DELETE CASCADE,
    -- The replay file, byte for byte.
    replay BLOB NOT NULL
);

-- Deliveries that contradict what is stored: refused, kept for a person to look at. Normally empty.
CREATE TABLE match_conflicts (
    -- The match that is stored otherwise.
    match_id BLOB NOT NULL REFERENCES matches (match_id) ON DELETE CASCADE,
    -- SHA-256 of the refused record.
    body_sha256 BLOB NOT NULL CHECK (length(body_sha256) = 32),
    -- The refused record as it was delivered.
    body BLOB NOT NULL,
    PRIMARY KEY (match_id, body_sha256)
);
