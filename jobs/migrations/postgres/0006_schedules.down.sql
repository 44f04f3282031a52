-- Drops what 0006 made. Pauses and times of schedules are lost: stop the schedulers first.
--
-- Locks: ACCESS EXCLUSIVE on two small tables.

DROP TABLE jobs.schedules, jobs.schedule_leader;
