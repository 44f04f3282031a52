-- Orders. The lines are one JSON column: they never change, are read with the order and only with it, and
-- `json_each` turns them into rows where stock is released or shipped. A table of lines would add one statement
-- and one b-tree per line to the transaction every checkout waits for, and buy only a foreign key to products,
-- which are never deleted.
--
-- A rowid table on purpose: rows are about 1 KB, too wide to be clustered under a text key.
--
-- EXPLAIN QUERY PLAN
--   by id:          SEARCH orders USING INDEX sqlite_autoindex_orders_2 (id=?)
--   list:           SEARCH orders USING INDEX sqlite_autoindex_orders_1 (merchant_id=? AND id<?)
--   list by status: SEARCH orders USING INDEX orders_by_status (merchant_id=? AND status=? AND id<?)
CREATE TABLE orders (
    merchant_id        TEXT NOT NULL REFERENCES merchants (id),
    id                 TEXT NOT NULL,
    status             TEXT NOT NULL
        CHECK (status IN ('pending', 'paid', 'fulfilled', 'payment_failed', 'cancelled', 'refunded')),
    currency           TEXT NOT NULL CHECK (length(currency) = 3),
    total_minor        INTEGER NOT NULL CHECK (total_minor BETWEEN 0 AND 999999999999),
    refunded_minor     INTEGER NOT NULL DEFAULT 0,
    lines              TEXT NOT NULL,
    customer_email     TEXT NOT NULL,
    customer_name      TEXT NOT NULL,
    payment_method     TEXT NOT NULL,
    shipping_address   TEXT,
    reference          TEXT,
    status_reason      TEXT,
    -- What was captured; also set when the capture came after the order was cancelled.
    payment_id         TEXT,
    provider_reference TEXT,
    captured_minor     INTEGER CHECK (captured_minor BETWEEN 0 AND 999999999999),
    shipment_id        TEXT,
    shipped_at         INTEGER,
    event_sequence     INTEGER NOT NULL CHECK (event_sequence >= 1),
    trace              TEXT,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, id),
    UNIQUE (id),
    CHECK (refunded_minor BETWEEN 0 AND total_minor),
    CHECK ((shipment_id IS NULL) = (shipped_at IS NULL)),
    CHECK ((payment_id IS NULL) = (captured_minor IS NULL)),
    CHECK (status NOT IN ('paid', 'fulfilled', 'refunded') OR captured_minor IS NOT NULL),
    CHECK (status <> 'fulfilled' OR shipment_id IS NOT NULL)
) STRICT;

CREATE INDEX orders_by_status ON orders (merchant_id, status, id);
