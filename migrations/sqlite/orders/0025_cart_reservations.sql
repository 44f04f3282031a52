-- Reservations of carts at checkout, for merchants that switch them on: the units are in `products.reserved` until the
-- row is gone. `checkout` of a merchant holds that switch, as JSON; NULL is the default.
--
-- `lines` is JSON, `[{"sku": …, "quantity": …}]`, as in orders.
--
-- EXPLAIN QUERY PLAN
--   of a cart: SEARCH cart_reservations USING PRIMARY KEY (merchant_id=? AND cart_id=?)
--   ended:     SEARCH cart_reservations USING COVERING INDEX cart_reservations_by_end
--                  ((expires_at,cart_id)>(?,?) AND expires_at<?)
ALTER TABLE merchants ADD COLUMN checkout TEXT CHECK (checkout IS NULL OR json_valid(checkout));

CREATE TABLE cart_reservations (
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    cart_id     TEXT NOT NULL,
    lines       TEXT NOT NULL CHECK (json_valid(lines)),
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, cart_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX cart_reservations_by_end ON cart_reservations (expires_at, cart_id);
