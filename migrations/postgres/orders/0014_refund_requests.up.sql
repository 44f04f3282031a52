-- Whether a refund was requested without an amount, for all that was left. A repetition under the same key must ask for
-- the same.
--
-- Locks: ACCESS EXCLUSIVE on `refunds` for a moment: no column is written to stored rows.
-- Indexes: none; read by the key of the refund.
ALTER TABLE refunds ADD COLUMN remainder boolean NOT NULL DEFAULT false;
