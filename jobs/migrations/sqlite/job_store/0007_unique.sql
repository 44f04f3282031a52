-- How long a job holds its unique key, and why. A key is `held_as` one of: active, the job waits or runs, or is about to
-- be published; dead, the job is dead and keeps the key (`kept`); period, the key was released and lasts until
-- `period_end`, which is its `expires_at` then. Rows of an earlier release are active, without kept and period.
--
-- Indexes: those of the earlier migrations; a period that has ended is found by unique_keys_expiry.

ALTER TABLE unique_keys ADD COLUMN held_as TEXT NOT NULL DEFAULT 'active';
ALTER TABLE unique_keys ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE unique_keys ADD COLUMN period_end INTEGER;
