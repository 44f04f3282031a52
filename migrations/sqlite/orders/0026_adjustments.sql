-- Discounts, shipping and taxes of an order, as the merchant's hooks decided them: JSON,
-- `[{"kind": …, "label": …, "amount_minor": …}]`; NULL where there are none. They are in `total_minor`.
ALTER TABLE orders ADD COLUMN adjustments TEXT;
