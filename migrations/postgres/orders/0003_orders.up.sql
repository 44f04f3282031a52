-- Orders, their refunds and the mails sent for them, partitioned BY RANGE on the order's id.
--
-- Ids are UUIDv7: their first 48 bits are the milliseconds of their making. A range of ids is therefore a range of
-- time, the primary key stays `(id)` and so is unique over all partitions, and a look-up by id reads one partition.
-- `refunds` and `mails` have the same bounds, so that a month of orders goes as a whole.
--
-- Partitions are months (UTC), made ahead and dropped by `store::partitions`. The default partition is the net under
-- them: orders with ids outside of all months (the job that makes them did not run; an import) are taken, not refused.
--
-- The lines are one JSON column: they never change, are read with the order and only with it. A table of them would
-- add an index entry and a row per line to the transaction every checkout waits for, and buy only a foreign key to
-- products, which are never deleted. `json`, not `jsonb`: it is stored and read whole, and kept to the byte.
--
-- No foreign keys to or from orders: one would lock a merchant's row in every checkout, others would keep partitions
-- from being dropped. An order's product does reference the merchant; refunds and mails are written by statements that
-- have just read the order. The merchant's `reference` is not unique: it is the merchant's, who may use it again.
--
-- Locks: creates empty tables only.
-- Indexes: the key, for everything that names an order; `orders_by_merchant` and `orders_by_status` for the lists,
-- newest first, both in the order of the list.
CREATE TABLE orders (
    id                 uuid NOT NULL,
    merchant_id        uuid NOT NULL,
    status             text NOT NULL
        CHECK (status IN ('pending', 'paid', 'fulfilled', 'payment_failed', 'cancelled', 'refunded')),
    currency           text NOT NULL CHECK (length(currency) = 3),
    total_minor        bigint NOT NULL CHECK (total_minor BETWEEN 0 AND 999999999999),
    refunded_minor     bigint NOT NULL DEFAULT 0,
    lines              json NOT NULL,
    customer_email     text NOT NULL,
    customer_name      text NOT NULL,
    payment_method     text NOT NULL,
    shipping_address   json,
    reference          text,
    status_reason      text,
    -- What was captured; also set when the capture came after the order was cancelled.
    payment_id         uuid,
    provider_reference text,
    captured_minor     bigint CHECK (captured_minor BETWEEN 0 AND 999999999999),
    shipment_id        uuid,
    shipped_at         timestamptz,
    event_sequence     bigint NOT NULL CHECK (event_sequence >= 1),
    trace              text,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (id),
    CHECK (refunded_minor BETWEEN 0 AND total_minor),
    CHECK ((shipment_id IS NULL) = (shipped_at IS NULL)),
    CHECK ((payment_id IS NULL) = (captured_minor IS NULL)),
    CHECK (status NOT IN ('paid', 'fulfilled', 'refunded') OR captured_minor IS NOT NULL),
    CHECK (status <> 'fulfilled' OR shipment_id IS NOT NULL)
) PARTITION BY RANGE (id);

CREATE INDEX orders_by_merchant ON orders (merchant_id, id);
CREATE INDEX orders_by_status ON orders (merchant_id, status, id);
CREATE TABLE orders_default PARTITION OF orders DEFAULT;

-- Refunds asked for and recorded; `recorded_at` is set once the provider has done it.
CREATE TABLE refunds (
    order_id     uuid NOT NULL,
    id           uuid NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 999999999999),
    requested_at timestamptz NOT NULL,
    recorded_at  timestamptz,
    PRIMARY KEY (order_id, id)
) PARTITION BY RANGE (order_id);

CREATE TABLE refunds_default PARTITION OF refunds DEFAULT;

-- Which mails were sent: one per order and template.
CREATE TABLE mails (
    order_id   uuid NOT NULL,
    template   text NOT NULL,
    message_id text NOT NULL,
    sent_at    timestamptz NOT NULL,
    PRIMARY KEY (order_id, template)
) PARTITION BY RANGE (order_id);

CREATE TABLE mails_default PARTITION OF mails DEFAULT;
