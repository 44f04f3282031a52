-- Products with their stock. One row holds both, so that a reservation is one guarded UPDATE.
--
-- `event_sequence` counts the catalog events (`inventory.*`) of the product.
--
-- EXPLAIN QUERY PLAN
--   list:             SEARCH products USING PRIMARY KEY (merchant_id=? AND sku>?)
--   list by category: SEARCH products USING INDEX products_by_category (merchant_id=? AND category=? AND sku>?)
--   categories:       SEARCH products USING COVERING INDEX products_by_category (merchant_id=?)
CREATE TABLE products (
    merchant_id    TEXT NOT NULL REFERENCES merchants (id),
    sku            TEXT NOT NULL CHECK (length(sku) BETWEEN 1 AND 64),
    name           TEXT NOT NULL,
    description    TEXT,
    category       TEXT NOT NULL,
    price_minor    INTEGER NOT NULL CHECK (price_minor BETWEEN 0 AND 999999999999),
    currency       TEXT NOT NULL CHECK (length(currency) = 3),
    on_hand        INTEGER NOT NULL DEFAULT 0 CHECK (on_hand >= 0),
    reserved       INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    low_stock_at   INTEGER NOT NULL,
    event_sequence INTEGER NOT NULL DEFAULT 0 CHECK (event_sequence >= 0),
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, sku),
    CHECK (reserved <= on_hand)
) STRICT, WITHOUT ROWID;

CREATE INDEX products_by_category ON products (merchant_id, category, sku);
