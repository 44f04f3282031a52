-- What an operator sees of an API key, and since when it is rejected.
--
-- EXPLAIN QUERY PLAN
--   keys of a merchant:  SEARCH api_keys USING INDEX api_keys_by_merchant (merchant_id=?)
ALTER TABLE api_keys ADD COLUMN label TEXT;
ALTER TABLE api_keys ADD COLUMN prefix TEXT;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
ALTER TABLE api_keys ADD COLUMN revoked_at INTEGER;
CREATE INDEX api_keys_by_merchant ON api_keys (merchant_id, id);
