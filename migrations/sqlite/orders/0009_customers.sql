-- Registered customers and the mails sent to them. Only password hashes are kept. `email_key` is the address as it is
-- compared, `email` as it is written to. `idempotency_key` is that of the request that opened the account.
--
-- Mails of customers stand apart from those of orders: each table references what its mails are about.
--
-- EXPLAIN QUERY PLAN
--   by id:             SEARCH customers USING INDEX sqlite_autoindex_customers_1 (id=?)
--   by address:        SEARCH customers USING INDEX sqlite_autoindex_customers_2 (merchant_id=? AND email_key=?)
--   by key:            SEARCH customers USING INDEX customers_by_key (merchant_id=? AND idempotency_key=?)
--   mails of customer: SEARCH customer_mails USING PRIMARY KEY (customer_id=?)
CREATE TABLE customers (
    id              TEXT NOT NULL,
    merchant_id     TEXT NOT NULL REFERENCES merchants (id),
    email           TEXT NOT NULL,
    email_key       TEXT NOT NULL,
    name            TEXT NOT NULL,
    password_hash   TEXT NOT NULL,
    idempotency_key TEXT CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    created_at      INTEGER NOT NULL,
    UNIQUE (id),
    UNIQUE (merchant_id, email_key)
) STRICT;

CREATE UNIQUE INDEX customers_by_key ON customers (merchant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE customer_mails (
    customer_id TEXT NOT NULL REFERENCES customers (id),
    template    TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    sent_at     INTEGER NOT NULL,
    PRIMARY KEY (customer_id, template)
) STRICT, WITHOUT ROWID;
