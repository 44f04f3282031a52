INSERT INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
SELECT merchant_id, substr(key, 8), fingerprint, order_id, body, created_at FROM idempotency_keys
WHERE key LIKE 'secret %' AND substr(key, 8) NOT LIKE '% %'
ON CONFLICT DO NOTHING;
DELETE FROM idempotency_keys WHERE key LIKE 'secret %';
ALTER TABLE orders
    DROP CONSTRAINT orders_token, DROP COLUMN token_expires_at, DROP COLUMN token_hash, DROP COLUMN customer_id;
