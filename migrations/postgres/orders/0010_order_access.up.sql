-- Who may read a whole order without a secret key: the registered customer in whose session it was placed, and the bearer
-- of the order's token, of which only the SHA-256 is kept. And idempotency keys by the kind of API key: those sent with a
-- secret key stand apart, as 'secret KEY'; the blank keeps them from meeting a client's own, which has none.
--
-- What was answered before may have been asked for with either kind of key, so it is found under both for the day that it
-- is kept; a key of more than 248 characters only under the publishable one.
--
-- Locks: ACCESS EXCLUSIVE on `orders` and its partitions for a moment: nullable columns without default are added without
-- rewriting, and the constraint without a look at what is stored. `idempotency_keys` is read once, rows are added to it.
-- Indexes: none; both are read with the order.
ALTER TABLE orders
    ADD COLUMN customer_id uuid,
    ADD COLUMN token_hash bytea,
    ADD COLUMN token_expires_at timestamptz,
    ADD CONSTRAINT orders_token CHECK
        ((token_hash IS NULL) = (token_expires_at IS NULL) AND coalesce(octet_length(token_hash), 32) = 32) NOT VALID;

INSERT INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
SELECT merchant_id, 'secret ' || key, fingerprint, order_id, body, created_at FROM idempotency_keys
WHERE length(key) <= 248 AND key NOT LIKE '% %'
ON CONFLICT DO NOTHING;
