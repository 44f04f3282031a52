-- Index of the events that end the work on an order, by time: from it the API measures how many orders the installation
-- drains, and how long they take. One event of each order is in it.
--
-- EXPLAIN QUERY PLAN
--   ended lately: SEARCH outbox USING INDEX outbox_ended (at>?)
CREATE INDEX outbox_ended ON outbox (at) WHERE kind IN ('order.fulfilled', 'payment.failed');
