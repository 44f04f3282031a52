-- Waiting rooms of merchants in sale mode: the mode as it was set, how many places were taken, and how many shoppers
-- are admitted. No row per shopper: a place is a number that the shopper carries, signed with `key`.
--
-- `version` counts the changes of mode and progress: a step names the version it has read, so that of several API
-- processes one makes it. `taken` is counted beside it.
--
-- Locks: creates an empty table only; the reference takes SHARE ROW EXCLUSIVE on merchants for that moment.
-- Indexes: the key. All rooms that are not off are read together; there are as many as merchants with a sale, and
-- updates, which touch no indexed column, are heap-only (HOT).
CREATE TABLE waiting_rooms (
    merchant_id uuid NOT NULL PRIMARY KEY REFERENCES merchants (id),
    switch      text NOT NULL CHECK (switch IN ('off', 'on', 'by_load')),
    mode        json NOT NULL,
    key         bytea NOT NULL CHECK (octet_length(key) = 32),
    taken       bigint NOT NULL CHECK (taken >= 0),
    progress    json NOT NULL,
    version     bigint NOT NULL,
    stepped_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
