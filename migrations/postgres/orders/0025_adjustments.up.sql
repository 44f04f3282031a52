-- Discounts, shipping and taxes of an order, as the merchant's hooks decided them:
-- `[{"kind": …, "label": …, "amount_minor": …}]`; NULL where there are none. They are in `total_minor`.
--
-- Locks: ACCESS EXCLUSIVE on orders and its partitions for a moment, as a column without a default is added.
ALTER TABLE orders ADD COLUMN adjustments json;
