-- Locks: ACCESS EXCLUSIVE on `products` for a moment.
DROP INDEX products_without_words, products_by_category_price, products_by_price;
DROP TABLE product_words;
ALTER TABLE products DROP COLUMN search_words;
