-- Locks: ACCESS EXCLUSIVE on `orders` for a moment.
DROP INDEX orders_by_customer;
