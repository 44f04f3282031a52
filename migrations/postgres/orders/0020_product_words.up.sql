-- Search of products by words, and lists by price.
--
-- `search_words` holds the words of the folded name and sku, a blank before each; NULL until the program has written
-- them, which `orderworks migrate` does for older products after this migration. Products that a process of an earlier
-- release creates meanwhile are found once `migrate` has run again, or they are written again. `product_words` has the
-- same words as rows. An own table: pg_trgm needs an extension that not every login may create, and finds no word of
-- fewer than three letters, as most of Chinese are; full text search splits by the rules of one language and names no
-- merchant in its index.
--
-- `search_text` is no longer read nor written; processes of an earlier release use it until they end.
--
-- `product_words` is changed with its product, never by stock, so updates of stock stay heap-only (HOT): no column of
-- the new indexes changes with stock either.
--
-- Locks: ACCESS EXCLUSIVE on `products` for a moment, then a lock that stops its writers while three indexes are built.
-- On a catalog too large for that, make the first two by hand before, CONCURRENTLY; IF NOT EXISTS then finds them.
-- Indexes: the key of `product_words` gives the products of the words that a text begins; `products_by_price` and
-- `products_by_category_price` lists by price in their order, in both directions; `products_without_words` what is to be
-- brought up to date, and is empty afterwards.
ALTER TABLE products ADD COLUMN search_words text COLLATE "C";

CREATE TABLE product_words (
    merchant_id uuid NOT NULL,
    word        text COLLATE "C" NOT NULL,
    sku         text COLLATE "C" NOT NULL,
    PRIMARY KEY (merchant_id, word, sku)
);

CREATE INDEX IF NOT EXISTS products_by_price ON products (merchant_id, currency, price_minor, sku);
CREATE INDEX IF NOT EXISTS products_by_category_price
    ON products (merchant_id, category, currency, price_minor, sku);
CREATE INDEX IF NOT EXISTS products_without_words ON products (merchant_id, sku) WHERE search_words IS NULL;
