-- Which messages are set aside, as a column of its own, so that they have an index: the console counts and lists them
-- every few seconds, and found them by passing over all that waits.
--
-- Generated, so that every release keeps it right without naming it. Its value changes only when a message is set aside
-- or taken again: the lease that each message gets leaves it as it was, and so stays heap-only (HOT). An index with the
-- condition `relay = 'set aside'` would end that: PostgreSQL takes a column of a condition for an indexed one.
--
-- Locks: ACCESS EXCLUSIVE on `outbox_unsent` while the messages that wait are copied; orders wait for that long. Without
-- a backlog that is a moment: let the relays send what waits first.
-- Indexes: `outbox_unsent_set_aside` holds what is set aside and nothing else. EXPLAIN, custom and generic plan:
--   list:      Index Scan using outbox_unsent_set_aside, for each the message by its id; LIMIT
--   backlog:   Index Only Scan using outbox_unsent_pkey and outbox_unsent_set_aside, each up to a LIMIT
ALTER TABLE outbox_unsent
    ADD COLUMN set_aside boolean NOT NULL GENERATED ALWAYS AS (relay IS NOT DISTINCT FROM 'set aside') STORED;
CREATE INDEX outbox_unsent_set_aside ON outbox_unsent (position) WHERE set_aside;
