-- Erasures of customers' personal data: that one was done, when, at whose request and for how many orders. Without
-- personal data; `customer_id` names no row any more.
--
-- EXPLAIN QUERY PLAN
--   of a customer: SEARCH customer_erasures USING PRIMARY KEY (merchant_id=? AND customer_id=?)
CREATE TABLE customer_erasures (
    merchant_id  TEXT NOT NULL REFERENCES merchants (id),
    customer_id  TEXT NOT NULL,
    orders       INTEGER NOT NULL CHECK (orders >= 0),
    requested_by TEXT NOT NULL CHECK (length(requested_by) BETWEEN 1 AND 500),
    erased_at    INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, customer_id)
) STRICT, WITHOUT ROWID;
