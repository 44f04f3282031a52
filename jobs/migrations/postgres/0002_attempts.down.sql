-- Drops the log of attempts with all its partitions.
--
-- Locks: ACCESS EXCLUSIVE on the log; workers go on and drop their records meanwhile.

DROP TABLE jobs.attempts;
