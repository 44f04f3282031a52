-- Webhook endpoints and the log of attempts. Attempts outlive their endpoint, hence no foreign key to it.
--
-- Attempts are partitioned BY RANGE on the event's id (UUIDv7, see `0003_orders`): the key that makes a record count
-- once contains it, and "was this event delivered" reads one partition, whenever it is asked. A month of attempts goes
-- with the month of its events.
--
-- Locks: creates empty tables only.
-- Indexes: of endpoints, the key for a merchant's list, newest first, and `id` for workers, who know no merchant; of
-- attempts, the key for "delivered", `webhook_attempts_by_order` for an order's timeline.
CREATE TABLE webhook_endpoints (
    merchant_id uuid NOT NULL REFERENCES merchants (id),
    id          uuid NOT NULL UNIQUE,
    url         text NOT NULL,
    events      json NOT NULL,
    secret      text NOT NULL,
    enabled     boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

CREATE TABLE webhook_attempts (
    endpoint_id     uuid NOT NULL,
    event_id        uuid NOT NULL,
    attempt         bigint NOT NULL CHECK (attempt >= 1),
    at              timestamptz NOT NULL,
    order_id        uuid,
    duration_micros bigint NOT NULL CHECK (duration_micros >= 0),
    status          integer CHECK (status BETWEEN 0 AND 65535),
    error           text,
    PRIMARY KEY (endpoint_id, event_id, attempt, at)
) PARTITION BY RANGE (event_id);

CREATE INDEX webhook_attempts_by_order ON webhook_attempts (order_id, at) WHERE order_id IS NOT NULL;
CREATE TABLE webhook_attempts_default PARTITION OF webhook_attempts DEFAULT;
