-- Since when the payment provider has a bank debit of a pending order under way, which takes days: such an order does
-- not expire with the others.
ALTER TABLE orders ADD COLUMN debit_at INTEGER;
