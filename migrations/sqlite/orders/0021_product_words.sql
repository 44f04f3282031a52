-- Search of products by words, and lists by price.
--
-- `search_words` holds the words of the folded name and sku, a blank before each; NULL until the program has written
-- them, which it does for older products when it opens the file. `product_words` has the same words as rows: an own
-- table rather than FTS5, so that both engines find the same, and because FTS5 knows neither the merchant nor scripts
-- without blanks. It is changed with its product only, never by stock. `search_text` was the same for searches that
-- read every product.
--
-- EXPLAIN QUERY PLAN
--   candidates:             SEARCH product_words USING PRIMARY KEY (merchant_id=? AND word>? AND word<?)
--   found:                  the same, then SEARCH p USING PRIMARY KEY (merchant_id=? AND sku=?)
--   by price:               SEARCH products USING INDEX products_by_price
--   by price in a category: SEARCH products USING INDEX products_by_category_price
--   without words:          SEARCH products USING INDEX products_without_words
ALTER TABLE products ADD COLUMN search_words TEXT;
ALTER TABLE products DROP COLUMN search_text;

CREATE TABLE product_words (
    merchant_id TEXT NOT NULL,
    word        TEXT NOT NULL,
    sku         TEXT NOT NULL,
    PRIMARY KEY (merchant_id, word, sku)
) STRICT, WITHOUT ROWID;

CREATE INDEX products_by_price ON products (merchant_id, currency, price_minor, sku);
CREATE INDEX products_by_category_price ON products (merchant_id, category, currency, price_minor, sku);
CREATE INDEX products_without_words ON products (merchant_id, sku) WHERE search_words IS NULL;
