-- Locks: ACCESS EXCLUSIVE on orders and its partitions for a moment. Totals stay; what they are made of is gone.
ALTER TABLE orders DROP COLUMN adjustments;
