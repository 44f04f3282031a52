-- What was answered under an idempotency key. The row decides over a repeated request, not any cache.
--
-- Not partitioned: a key must be unique whatever the time it is used at, and has no time in it. Rows live a day
-- (`Orders::expire_idempotency`), so the table stays small. No foreign key to orders, see `0003_orders`; both rows are
-- written by one statement.
--
-- Locks: creates an empty table only.
-- Indexes: the key decides over repetitions; `idempotency_keys_by_age` gives the expired ones without reading the rest.
CREATE TABLE idempotency_keys (
    merchant_id uuid NOT NULL,
    key         text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    order_id    uuid NOT NULL,
    body        text NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
