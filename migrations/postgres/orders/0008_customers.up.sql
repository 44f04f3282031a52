-- Registered customers and the mails sent to them. Only password hashes are kept. `email_key` is the address as it is
-- compared, `email` as it is written to. `idempotency_key` is that of the request that opened the account.
--
-- Not partitioned: an address must be unique whatever the time it is registered at, and accounts stay. Mails of customers
-- stand apart from those of orders, which go by month together with their orders.
--
-- Locks: creates empty tables only; the references take SHARE ROW EXCLUSIVE on merchants for that moment.
-- Indexes: the key, for workers and sessions, who have an id; `customers_by_email` decides over a second registration and
-- serves signing in; `customers_of_merchant` gives them page by page when a merchant moves; `customers_by_key` decides over a repeated one; the key of mails makes a record count once.
CREATE TABLE customers (
    id              uuid NOT NULL PRIMARY KEY,
    merchant_id     uuid NOT NULL REFERENCES merchants (id),
    email           text NOT NULL,
    email_key       text COLLATE "C" NOT NULL,
    name            text NOT NULL,
    password_hash   text NOT NULL,
    idempotency_key text COLLATE "C" CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    created_at      timestamptz NOT NULL
);

CREATE UNIQUE INDEX customers_of_merchant ON customers (merchant_id, id);
CREATE UNIQUE INDEX customers_by_email ON customers (merchant_id, email_key);
CREATE UNIQUE INDEX customers_by_key ON customers (merchant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE customer_mails (
    customer_id uuid NOT NULL REFERENCES customers (id),
    template    text NOT NULL,
    message_id  text NOT NULL,
    sent_at     timestamptz NOT NULL,
    PRIMARY KEY (customer_id, template)
);
