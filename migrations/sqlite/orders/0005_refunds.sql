-- Refunds of an order, asked for and recorded. `recorded_at` is set once the provider has done it.
--
-- EXPLAIN QUERY PLAN
--   of an order: SEARCH refunds USING PRIMARY KEY (order_id=?)
CREATE TABLE refunds (
    order_id     TEXT NOT NULL REFERENCES orders (id),
    id           TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor BETWEEN 1 AND 999999999999),
    requested_at INTEGER NOT NULL,
    recorded_at  INTEGER,
    PRIMARY KEY (order_id, id)
) STRICT, WITHOUT ROWID;
