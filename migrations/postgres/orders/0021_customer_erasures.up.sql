-- Erasures of customers' personal data: that one was done, when, at whose request and for how many orders. Without
-- personal data; `customer_id` names no row any more.
--
-- Not partitioned: a row per erased customer, kept for good, as proof.
--
-- Locks: creates an empty table only; the reference takes SHARE ROW EXCLUSIVE on merchants for that moment.
-- Indexes: the key, for the look-up and page by page when a merchant moves. The orders of a customer are found by
-- `orders_by_customer`.
CREATE TABLE customer_erasures (
    merchant_id  uuid NOT NULL REFERENCES merchants (id),
    customer_id  uuid NOT NULL,
    orders       bigint NOT NULL CHECK (orders >= 0),
    requested_by text NOT NULL CHECK (length(requested_by) BETWEEN 1 AND 500),
    erased_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, customer_id)
);
