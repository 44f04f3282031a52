-- Index of the events that end the work on an order, by time: from it the API measures how many orders the installation
-- drains, and how long they take.
--
-- Locks: the index is built under a lock that stops writers to `outbox` for the time of one walk over its partitions. On
-- a table too large for that, make it by hand first, as told in `0009_audit.up.sql`; IF NOT EXISTS then finds it.
-- Indexes: one event of each order is in it, so that a fulfilment writes one small entry more. EXPLAIN, custom and
-- generic plan: Merge Append of Index Scan Backward using the partitions of outbox_ended, Index Cond: at > $1; at most
-- 500 rows are read, and without orders none.
CREATE INDEX IF NOT EXISTS outbox_ended ON outbox (at) WHERE kind IN ('order.fulfilled', 'payment.failed');
