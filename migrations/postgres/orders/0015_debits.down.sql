-- Locks: ACCESS EXCLUSIVE on the table for a moment. Orders with a bank debit under way expire with the others.
ALTER TABLE orders DROP COLUMN debit_at;
