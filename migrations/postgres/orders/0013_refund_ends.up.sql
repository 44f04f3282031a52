-- The end of a refund that failed: when, and the code of the provider's refusal. Its amount may be asked for again.
--
-- `shipment_held`: whether a paid order waits for its refunds to end, as they amount to its whole price. Kept with the
-- order: a shipment that waits for the order's lock sees the row as it is then, other tables as they were before.
--
-- `settlements`: what people have settled of the violations that audits found, an audit row each, at most 100.
--
-- Locks: ACCESS EXCLUSIVE on `refunds` while the constraint reads its rows, and on `orders` for a moment: no column is
-- written to stored rows.
-- Indexes: none; both are read by the order.
ALTER TABLE refunds
    ADD COLUMN failed_at timestamptz,
    ADD COLUMN failure text,
    ADD CONSTRAINT refunds_failed
        CHECK ((failed_at IS NULL) = (failure IS NULL) AND (failed_at IS NULL OR recorded_at IS NULL));
ALTER TABLE orders ADD COLUMN shipment_held boolean NOT NULL DEFAULT false, ADD COLUMN settlements json;
