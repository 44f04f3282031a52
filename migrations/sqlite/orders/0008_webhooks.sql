-- Webhook endpoints and the log of attempts. Attempts outlive their endpoint, hence no foreign key to it.
--
-- EXPLAIN QUERY PLAN
--   endpoints of a merchant: SEARCH webhook_endpoints USING INDEX sqlite_autoindex_webhook_endpoints_1 (merchant_id=? AND id<?)
--   delivered:               SEARCH webhook_attempts USING PRIMARY KEY (endpoint_id=? AND event_id=?)
--   attempts of an order:    SEARCH webhook_attempts USING INDEX webhook_attempts_by_order (order_id=?)
CREATE TABLE webhook_endpoints (
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    id          TEXT NOT NULL,
    url         TEXT NOT NULL,
    events      TEXT NOT NULL,
    secret      TEXT NOT NULL,
    enabled     INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, id),
    UNIQUE (id)
) STRICT;

CREATE TABLE webhook_attempts (
    endpoint_id     TEXT NOT NULL,
    event_id        TEXT NOT NULL,
    attempt         INTEGER NOT NULL CHECK (attempt >= 1),
    at              INTEGER NOT NULL,
    order_id        TEXT,
    duration_micros INTEGER NOT NULL CHECK (duration_micros >= 0),
    status          INTEGER CHECK (status BETWEEN 0 AND 65535),
    error           TEXT,
    PRIMARY KEY (endpoint_id, event_id, attempt, at)
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_attempts_by_order ON webhook_attempts (order_id, at) WHERE order_id IS NOT NULL;
