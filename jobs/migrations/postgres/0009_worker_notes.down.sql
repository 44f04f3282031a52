-- Drops what 0011 made: workers are not listed, and go back to the sizes of their configuration at their next start.
--
-- Locks: ACCESS EXCLUSIVE on the tables; stop the workers, which write to one of them.

DROP TABLE jobs.queue_sizes;
DROP TABLE jobs.worker_notes;
