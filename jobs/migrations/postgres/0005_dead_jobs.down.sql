-- Drops what 0005 made. Dead jobs are lost: redrive or drop them first.
--
-- Locks: ACCESS EXCLUSIVE on the table; stop whoever uses the job store.

DROP TABLE jobs.dead_jobs;
