-- Products with their stock. One row holds both, so that a reservation is one guarded UPDATE and a line of an order
-- needs one look-up.
--
-- Not partitioned. Buyers of one product wait for its row, and hashing rows over tables spreads no row; every statement
-- but the lists names the whole key, so a smaller index saves a fraction of one page read, and routing costs more than
-- that. The table grows with the catalog, not with sales.
--
-- `fillfactor` leaves room for new versions of a row in its page: stock changes touch no indexed column, so they are
-- heap-only (HOT) and leave nothing in the indexes. The autovacuum threshold is absolute, because a small catalog with
-- many sales turns its rows over many times.
--
-- `event_sequence` counts the catalog events (`inventory.*`) of the product.
--
-- Locks: creates an empty table only.
-- Indexes: the key serves every change, the list by sku and a page of it; `products_by_category` the list of one
-- category by sku, and the counts per category.
CREATE TABLE products (
    merchant_id    uuid NOT NULL REFERENCES merchants (id),
    sku            text COLLATE "C" NOT NULL CHECK (length(sku) BETWEEN 1 AND 64),
    name           text NOT NULL,
    description    text,
    category       text COLLATE "C" NOT NULL,
    price_minor    bigint NOT NULL CHECK (price_minor BETWEEN 0 AND 999999999999),
    currency       text NOT NULL CHECK (length(currency) = 3),
    on_hand        bigint NOT NULL DEFAULT 0 CHECK (on_hand >= 0),
    reserved       bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    low_stock_at   bigint NOT NULL,
    event_sequence bigint NOT NULL DEFAULT 0 CHECK (event_sequence >= 0),
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, sku),
    CHECK (reserved <= on_hand)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX products_by_category ON products (merchant_id, category, sku);
