-- The name and sku of a product without differences of letter case, folded by the program, which gives the same result
-- for every locale of the server. NULL until the product is written again; until then it is searched by its name and
-- sku, ASCII letters folded.
--
-- Locks: ACCESS EXCLUSIVE on `products` for a moment: no column is written to stored rows.
-- Indexes: none; a search reads the merchant's products by sku.
ALTER TABLE products ADD COLUMN search_text text COLLATE "C";
