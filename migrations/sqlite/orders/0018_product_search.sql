-- The name and sku of a product without differences of letter case, folded by the program: SQLite folds ASCII only.
-- NULL until the product is written again; until then it is searched by its name and sku, ASCII letters folded.
ALTER TABLE products ADD COLUMN search_text TEXT;
