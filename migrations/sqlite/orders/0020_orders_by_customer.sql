-- The orders of a registered customer, newest first, for the customer's own list. Orders of guests are not in it.
--
-- Takes the file's one write lock while the index is built: a walk over the orders.
--
-- EXPLAIN QUERY PLAN
--   list of customer: SEARCH orders USING INDEX orders_by_customer (merchant_id=? AND customer_id=? AND id<?)
CREATE INDEX orders_by_customer ON orders (merchant_id, customer_id, id) WHERE customer_id IS NOT NULL;
