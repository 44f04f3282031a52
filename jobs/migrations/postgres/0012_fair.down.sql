-- Drops what 0012 made: no queue is fair. Jobs that waited for their turn are due at once, none is lost.
--
-- Locks: ACCESS EXCLUSIVE on two tables; publishing of scheduled jobs waits while an index is built.

DROP TABLE jobs.fair_keys, jobs.fair_times, jobs.fair_weights;
DROP INDEX jobs.scheduled_fair;
DROP INDEX jobs.scheduled_due;
CREATE INDEX scheduled_due ON jobs.scheduled (due_at);
ALTER TABLE jobs.scheduled DROP COLUMN priority, DROP COLUMN tag;
ALTER TABLE jobs.queues DROP COLUMN fair;
