-- Pages of long lists for people who look: by kind, by queue and kind, and of the jobs that wait for their turn, each
-- in the order of an index, so that a page costs the same whatever else is listed. Without them a kind that is rare, or
-- that a queue does not have, was found by passing over all other jobs.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   by kind         (kind, id)>($,$) AND kind<=$ ORDER BY kind, id LIMIT $   scheduled_kind, dead_jobs_kind
--   queue and kind  queue=$ AND the same                                     scheduled_queue_kind, dead_jobs_queue_kind
--   in the backlog  id>$ AND tag IS NOT NULL ORDER BY id LIMIT $             scheduled_waiting
-- A scheduled job is written with two more entries, a job that waits for its turn with three: neither is on the way of
-- a plain job.
--
-- Locks: SHARE on two tables, one after the other: scheduling, publishing of scheduled jobs and storing of dead ones
-- wait while their indexes are built.

CREATE INDEX scheduled_kind ON jobs.scheduled (kind, id);
CREATE INDEX scheduled_queue_kind ON jobs.scheduled (queue, kind, id);
CREATE INDEX scheduled_waiting ON jobs.scheduled (id) WHERE tag IS NOT NULL;
CREATE INDEX dead_jobs_kind ON jobs.dead_jobs (kind, id);
CREATE INDEX dead_jobs_queue_kind ON jobs.dead_jobs (queue, kind, id);
