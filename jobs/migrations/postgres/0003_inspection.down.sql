-- Drops what 0003 added: `inspect` loses the running jobs of other processes.
--
-- Locks: ACCESS EXCLUSIVE on two small tables, for a change of the catalog.

ALTER TABLE jobs.consumers DROP COLUMN jobs;
ALTER TABLE jobs.queues DROP COLUMN reached_at;
