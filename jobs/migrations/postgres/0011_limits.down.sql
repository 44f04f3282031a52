-- Drops what 0011 made: limits are not kept, and jobs that wait for one come when their snooze ends; no job is lost.
--
-- Locks: ACCESS EXCLUSIVE on the tables; stop the workers, which write to them.

DROP TABLE jobs.limit_parked;
DROP TABLE jobs.limit_blocks;
DROP TABLE jobs.limit_leases;
