-- Drops what 0001 made. Scheduled jobs, pauses, requests and unique keys are lost: drain them first.
--
-- Locks: ACCESS EXCLUSIVE on each table; stop whoever uses the job store.

DROP TABLE jobs.consumers, jobs.unique_keys, jobs.scheduled, jobs.cancel_requests, jobs.control, jobs.queues;
