-- Since when the payment provider has a bank debit of a pending order under way, which takes days: such an order does
-- not expire with the others.
--
-- Locks: ACCESS EXCLUSIVE on `orders` for a moment: no column is written to stored rows.
-- Indexes: none; read of the orders in `orders_open`.
ALTER TABLE orders ADD COLUMN debit_at timestamptz;
