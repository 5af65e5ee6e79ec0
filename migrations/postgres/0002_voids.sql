-- Matches that ended without a result: the server was stopped, or made a mistake.

-- Why the match has no result, such as "server shutdown"; null when it has one.
ALTER TABLE matches ADD COLUMN void_reason TEXT CHECK (length(void_reason) BETWEEN 1 AND 64);

-- Null: the match has no result, so nobody has a place.
ALTER TABLE match_seats ALTER COLUMN placement DROP NOT NULL;
