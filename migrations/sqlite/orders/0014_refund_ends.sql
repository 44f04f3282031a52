-- The end of a refund that failed: when, and the code of the provider's refusal. Its amount may be asked for again.
ALTER TABLE refunds ADD COLUMN failed_at INTEGER;
ALTER TABLE refunds ADD COLUMN failure TEXT
    CHECK ((failed_at IS NULL) = (failure IS NULL) AND (failed_at IS NULL OR recorded_at IS NULL));

-- Whether a paid order waits for its refunds to end, as they amount to its whole price. Kept with the order, so that the
-- guarded update of a shipment reads it.
ALTER TABLE orders ADD COLUMN shipment_held INTEGER NOT NULL DEFAULT 0 CHECK (shipment_held IN (0, 1));

-- What people have settled of the violations that audits found: JSON, an audit row each, at most 100.
ALTER TABLE orders ADD COLUMN settlements TEXT;
