-- What expiry and audits need: open orders by age, since when an endpoint has been as it is, how far an audit came.
--
-- Takes the file's one write lock while the index is built: a walk over the orders, of which only the open ones go in.
--
-- EXPLAIN QUERY PLAN
--   stale orders:  SEARCH orders USING INDEX orders_open (status=? AND id<?)
--   reservations:  SEARCH o USING INDEX orders_open (status=?), then json_each; one look-up per product of the page
--   all orders:    SEARCH orders USING COVERING INDEX sqlite_autoindex_orders_2 (id>?)
--   unsent, commands: SEARCH outbox USING INDEX outbox_by_order, outbox_commands (order_id=?)
--   touched:       SEARCH outbox USING INDEX sqlite_autoindex_outbox_1 (id>? AND id<?)
-- An order is in `orders_open` until it has ended, so placing pays for one small b-tree that stays small.
CREATE INDEX orders_open ON orders (status, id) WHERE status IN ('pending', 'paid');

-- An order's commands: refunds only, so it holds few rows and is written seldom.
CREATE INDEX outbox_commands ON outbox (order_id) WHERE order_id IS NOT NULL AND sequence IS NULL;

-- NULL: since it was created.
ALTER TABLE webhook_endpoints ADD COLUMN changed_at INTEGER;

-- One row, rewritten by each incremental audit; up to 400 KB.
CREATE TABLE audit_mark (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    mark TEXT NOT NULL
) STRICT;
