-- Drops what 0013 made: no order is kept. Jobs behind another one of their key are due at their time, none is lost.
--
-- Locks: ACCESS EXCLUSIVE on three tables; publishing of scheduled jobs waits while an index is built.

DROP TABLE jobs.order_keys;
DROP SEQUENCE jobs.order_positions;
ALTER TABLE jobs.dead_jobs DROP COLUMN order_position;
DROP INDEX jobs.scheduled_line;
DROP INDEX jobs.scheduled_due;
CREATE INDEX scheduled_due ON jobs.scheduled (due_at) WHERE tag IS NULL;
ALTER TABLE jobs.scheduled DROP COLUMN order_key, DROP COLUMN order_position;
