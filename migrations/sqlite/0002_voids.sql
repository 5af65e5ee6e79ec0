-- Matches that ended without a result: the server was stopped, or made a mistake.

-- Why the match has no result, such as "server shutdown"; null when it has one.
ALTER TABLE matches ADD COLUMN void_reason TEXT CHECK (length(void_reason) BETWEEN 1 AND 64);

-- SQLite cannot take back a NOT NULL, so the table is made again and filled from the old one.
CREATE TABLE match_seats_with_voids (
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
    -- Place at the end, 1 is best; equals share the better place. Null: the match has no result, so nobody has a place.
    placement SMALLINT CHECK (placement BETWEEN 1 AND 8),
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

INSERT INTO match_seats_with_voids
    (match_id, seat, name, pilot, has_left, placement, rounds_won, kills, deaths, assists, shots,
     hits, survival_ticks, streak_longest)
SELECT
    match_id, seat, name, pilot, has_left, placement, rounds_won, kills, deaths, assists, shots,
    hits, survival_ticks, streak_longest
FROM match_seats;

DROP TABLE match_seats;

ALTER TABLE match_seats_with_voids RENAME TO match_seats;
