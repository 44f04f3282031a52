-- Waiting rooms of merchants in sale mode: the mode as it was set, how many places were taken, and how many shoppers
-- are admitted. No row per shopper: a place is a number that the shopper carries, signed with `key`.
--
-- `version` counts the changes of mode and progress: a step names the version it has read. `taken` is counted beside it.
--
-- EXPLAIN QUERY PLAN
--   of a merchant: SEARCH waiting_rooms USING PRIMARY KEY (merchant_id=?)
--   all:           SCAN waiting_rooms, which has a row per merchant with a sale
CREATE TABLE waiting_rooms (
    merchant_id TEXT NOT NULL PRIMARY KEY REFERENCES merchants (id),
    switch      TEXT NOT NULL CHECK (switch IN ('off', 'on', 'by_load')),
    mode        TEXT NOT NULL,
    key         BLOB NOT NULL CHECK (length(key) = 32),
    taken       INTEGER NOT NULL CHECK (taken >= 0),
    progress    TEXT NOT NULL,
    version     INTEGER NOT NULL,
    stepped_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
