-- Locks: ACCESS EXCLUSIVE on `products` for a moment.
ALTER TABLE products DROP COLUMN search_text;
