-- The end of a reservation whose job is not published yet: a process that dies before it publishes, or cannot publish,
-- leaves no key that nothing frees. NULL once the job is published, as in every row of an earlier release.
--
-- Index, proven by a test that plans the statement over a large table:
--   expiry     expires_at<=$ LIMIT $                                      unique_keys_expiry, of the few that can expire
--
-- Locks: ACCESS EXCLUSIVE on a small table, for a change of the catalog, then SHARE for the index; no table is
-- rewritten.

ALTER TABLE jobs.unique_keys ADD COLUMN expires_at bigint;
CREATE INDEX unique_keys_expiry ON jobs.unique_keys (expires_at) WHERE expires_at IS NOT NULL;
