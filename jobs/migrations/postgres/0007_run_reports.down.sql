-- Drops what 0007 made: progress, log lines and results of runs are lost, no job is.
--
-- Locks: ACCESS EXCLUSIVE on the table; stop the workers, which write to it.

DROP TABLE jobs.run_reports;
