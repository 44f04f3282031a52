-- Whether a refund was requested without an amount, for all that was left. A repetition under the same key must ask for
-- the same.
ALTER TABLE refunds ADD COLUMN remainder INTEGER NOT NULL DEFAULT 0 CHECK (remainder IN (0, 1));
