-- What an operator sees of an API key, and since when it is rejected.
--
-- Locks: ACCESS EXCLUSIVE on `api_keys` for a moment: no column is written to stored rows; SHARE while the index is built
-- over a few keys per merchant.
-- Indexes: `merchant_id` lists the keys of a merchant; single keys are found by `hash` and `id` as before.
ALTER TABLE api_keys
    ADD COLUMN label text,
    ADD COLUMN prefix text,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN revoked_at timestamptz;
CREATE INDEX api_keys_by_merchant ON api_keys (merchant_id, id);
