-- Drops what 0009 made: the record of bulk operations is lost, those that run end where they are, no job is lost.
--
-- Locks: ACCESS EXCLUSIVE on the table; stop the schedulers, which read it.

DROP TABLE jobs.operations;
