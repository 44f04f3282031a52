-- Locks: ACCESS EXCLUSIVE on the table for a moment.
ALTER TABLE refunds DROP COLUMN remainder;
