-- Events and commands, written with the change they belong to, in two tables.
--
-- `outbox` is the log: written once, never changed, partitioned BY RANGE on the message's id (UUIDv7, see
-- `0003_orders`), so that old events go by dropping a month and never by DELETE.
-- `outbox_unsent` is the queue: a narrow row per message that waits, with the relay's lease; deleted when sent. A lease
-- and a mark on the log itself would rewrite each message twice, with all its index entries.
--
-- `position` comes from a sequence without cache: a session's cached numbers would put a later message of an order
-- before an earlier one. Messages of one subject are written by holders of its row's lock, so their positions ascend in
-- the order of their commits; between subjects there is no order.
-- `sequence` is NULL for commands. `subject` is the order's id, or one derived from merchant and sku: what keeps its
-- order.
--
-- That an order's events are numbered without gaps is held by the lock on the order's row, not by an index: a unique
-- index would have to contain the partition key.
--
-- Locks: creates empty tables only.
-- Indexes on the log: the key, for an event by id; `outbox_by_order` for an order's events; `outbox_by_merchant` for a
-- merchant's, newest first. On the queue: the key gives the oldest first, `outbox_unsent_by_subject` finds a subject's
-- oldest message. A lease touches neither, so with room in the page it is heap-only (HOT).
CREATE SEQUENCE outbox_position AS bigint NO CYCLE CACHE 1;

CREATE TABLE outbox (
    id          uuid NOT NULL,
    position    bigint NOT NULL,
    merchant_id uuid NOT NULL,
    subject     uuid NOT NULL,
    kind        text NOT NULL,
    order_id    uuid,
    sequence    bigint CHECK (sequence >= 1),
    at          timestamptz NOT NULL,
    data        json NOT NULL,
    trace       text,
    PRIMARY KEY (id),
    CHECK ((sequence IS NULL) = (kind = 'command'))
) PARTITION BY RANGE (id);

CREATE INDEX outbox_by_order ON outbox (order_id, sequence) WHERE order_id IS NOT NULL AND sequence IS NOT NULL;
CREATE INDEX outbox_by_merchant ON outbox (merchant_id, position) WHERE sequence IS NOT NULL;
CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;

CREATE TABLE outbox_unsent (
    position     bigint NOT NULL PRIMARY KEY,
    id           uuid NOT NULL,
    subject      uuid NOT NULL,
    at           timestamptz NOT NULL,
    relay        text,
    leased_until timestamptz,
    CHECK ((relay IS NULL) = (leased_until IS NULL))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

CREATE INDEX outbox_unsent_by_subject ON outbox_unsent (subject, position);
