-- Drops what 0014 made: indexes only.
--
-- Locks: ACCESS EXCLUSIVE on two tables, for changes of the catalog.

DROP INDEX jobs.dead_jobs_queue_kind, jobs.dead_jobs_kind;
DROP INDEX jobs.scheduled_waiting, jobs.scheduled_queue_kind, jobs.scheduled_kind;
