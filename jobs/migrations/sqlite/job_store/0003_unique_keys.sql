-- The end of a reservation whose job is not published yet: a process that dies before it publishes, or cannot publish,
-- leaves no key that nothing frees. NULL once the job is published, as in every row of an earlier release.
--
-- Index, by EXPLAIN QUERY PLAN:
--   expiry     DELETE FROM unique_keys WHERE expires_at<=?   SEARCH USING INDEX unique_keys_expiry (expires_at<?)

ALTER TABLE unique_keys ADD COLUMN expires_at INTEGER;
CREATE INDEX unique_keys_expiry ON unique_keys (expires_at) WHERE expires_at IS NOT NULL;
