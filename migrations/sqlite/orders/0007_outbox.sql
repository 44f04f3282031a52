-- Events and commands, written with the change they belong to. Sent rows stay: they are the event log. The
-- relay's statements read partial indexes that hold unsent rows only, so the log's length costs them nothing.
--
-- `position` needs no AUTOINCREMENT: rows are never deleted, so max + 1 only grows.
-- `sequence` is NULL for commands. `subject` is the order, or the merchant and sku: what keeps its order.
-- `outbox_held` holds claimed rows only, so writing a message does not pay for it.
--
-- EXPLAIN QUERY PLAN
--   claim:           SCAN o USING INDEX outbox_unsent
--                    CORRELATED: SEARCH held USING INDEX outbox_held (subject=?)
--   event by id:     SEARCH outbox USING INDEX sqlite_autoindex_outbox_1 (id=?)
--   of an order:     SEARCH outbox USING INDEX outbox_by_order (order_id=? AND sequence>?)
--   of a merchant:   SEARCH outbox USING INDEX outbox_by_merchant (merchant_id=? AND rowid<?)
CREATE TABLE outbox (
    position     INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    merchant_id  TEXT NOT NULL REFERENCES merchants (id),
    subject      TEXT NOT NULL,
    kind         TEXT NOT NULL,
    order_id     TEXT REFERENCES orders (id),
    sequence     INTEGER CHECK (sequence >= 1),
    at           INTEGER NOT NULL,
    data         TEXT NOT NULL,
    trace        TEXT,
    relay        TEXT,
    leased_until INTEGER,
    sent_at      INTEGER,
    CHECK ((sequence IS NULL) = (kind = 'command')),
    CHECK ((relay IS NULL) = (leased_until IS NULL))
) STRICT;

CREATE INDEX outbox_unsent ON outbox (position) WHERE sent_at IS NULL;
CREATE INDEX outbox_held ON outbox (subject) WHERE sent_at IS NULL AND relay IS NOT NULL;
CREATE UNIQUE INDEX outbox_by_order ON outbox (order_id, sequence)
    WHERE order_id IS NOT NULL AND sequence IS NOT NULL;
CREATE INDEX outbox_by_merchant ON outbox (merchant_id) WHERE sequence IS NOT NULL;
