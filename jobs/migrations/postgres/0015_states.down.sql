-- Drops what 0015 made: indexes only.
--
-- Locks: ACCESS EXCLUSIVE on `scheduled`, for a change of the catalog.

DROP INDEX jobs.scheduled_queue_waiting, jobs.scheduled_queue_delayed, jobs.scheduled_delayed;
