-- Who may read a whole order without a secret key: the registered customer in whose session it was placed, and the bearer
-- of the order's token, of which only the SHA-256 is kept. And idempotency keys by the kind of API key: those sent with a
-- secret key stand apart, as 'secret KEY'; the blank keeps them from meeting a client's own, which has none.
--
-- What was answered before may have been asked for with either kind of key, so it is found under both for the day that it
-- is kept; a key of more than 248 characters only under the publishable one.
ALTER TABLE orders ADD COLUMN customer_id TEXT;
ALTER TABLE orders ADD COLUMN token_hash BLOB CHECK (length(token_hash) = 32);
ALTER TABLE orders ADD COLUMN token_expires_at INTEGER CHECK ((token_hash IS NULL) = (token_expires_at IS NULL));

INSERT OR IGNORE INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
SELECT merchant_id, 'secret ' || key, fingerprint, order_id, body, created_at FROM idempotency_keys
WHERE length(key) <= 248 AND instr(key, ' ') = 0;
