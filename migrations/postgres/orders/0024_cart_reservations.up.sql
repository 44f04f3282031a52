-- Reservations of carts at checkout, for merchants that switch them on: the units are in `products.reserved` until the
-- row is gone. `checkout` of a merchant holds that switch; NULL is the default.
--
-- `lines` is `[{"sku": …, "quantity": …}]`, as in orders.
--
-- Not partitioned: a row lives for minutes. The autovacuum threshold is absolute, because the table is small and turned
-- over many times a day.
--
-- Locks: ACCESS EXCLUSIVE on merchants for a moment, as a column without a default is added; otherwise creates an empty
-- table only.
-- Indexes: the key, for a cart and page by page when a merchant moves; `cart_reservations_by_end` for those that ended.
ALTER TABLE merchants ADD COLUMN checkout json;

CREATE TABLE cart_reservations (
    merchant_id uuid NOT NULL REFERENCES merchants (id),
    cart_id     uuid NOT NULL,
    lines       json NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, cart_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE INDEX cart_reservations_by_end ON cart_reservations (expires_at, cart_id);
