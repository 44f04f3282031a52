-- Locks: ACCESS EXCLUSIVE on the table, for the moment of dropping it.
DROP TABLE products;
