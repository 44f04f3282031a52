-- What expiry and audits need: open orders by age, since when an endpoint has been as it is, how far an audit came.
--
-- `orders_open` holds an order until it has ended: stale ones are found, and what open orders hold is summed up, without
-- reading the ended ones. The status column is indexed already, so no update that was heap-only (HOT) ceases to be.
--
-- Locks: the indexes are built under a lock that stops writers to `orders` and to `outbox` for the time of one walk over their partitions. On
-- tables too large for that, make it by hand first, partition by partition with CREATE INDEX CONCURRENTLY, and attach
-- each to one made ON ONLY the parent; IF NOT EXISTS then finds it. A nullable column without default is added without
-- rewriting.
CREATE INDEX IF NOT EXISTS orders_open ON orders (status, id) WHERE status IN ('pending', 'paid');

-- An order's commands: refunds only, so it holds few rows and is written seldom.
CREATE INDEX IF NOT EXISTS outbox_commands ON outbox (order_id) WHERE order_id IS NOT NULL AND sequence IS NULL;

-- NULL: since it was created.
ALTER TABLE webhook_endpoints ADD COLUMN changed_at timestamptz;

-- One row, rewritten by each incremental audit; up to 400 KB.
CREATE TABLE audit_mark (
    one  boolean NOT NULL PRIMARY KEY CHECK (one),
    mark json NOT NULL
);
