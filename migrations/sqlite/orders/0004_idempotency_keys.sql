-- What was answered under an idempotency key. The row decides over a repeated request, not any cache.
--
-- EXPLAIN QUERY PLAN
--   by key: SEARCH idempotency_keys USING INDEX sqlite_autoindex_idempotency_keys_1 (merchant_id=? AND key=?)
--   expiry: SEARCH idempotency_keys USING COVERING INDEX idempotency_keys_by_age (created_at<?)
CREATE TABLE idempotency_keys (
    merchant_id TEXT NOT NULL,
    key         TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    order_id    TEXT NOT NULL,
    body        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, key),
    FOREIGN KEY (merchant_id, order_id) REFERENCES orders (merchant_id, id)
) STRICT;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
