-- Locks: ACCESS EXCLUSIVE on both tables for a moment. A refund that failed is open again: `verify` finds it.
ALTER TABLE orders DROP COLUMN settlements, DROP COLUMN shipment_held;
ALTER TABLE refunds DROP CONSTRAINT refunds_failed, DROP COLUMN failure, DROP COLUMN failed_at;
