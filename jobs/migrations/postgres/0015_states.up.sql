-- Jobs that wait for a time, apart from those that wait for their turn in a fair queue: counted and listed without
-- passing over a long backlog of the others. Until now the count was the difference of two over all of a queue, and a
-- page of delayed jobs read past every job of the backlog that was older; a page of jobs that wait for their turn, in a
-- queue that has none, read all of the other queues' backlogs.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   count       queue>=$ AND queue<=$ AND tag IS NULL ORDER BY queue, id LIMIT $   scheduled_queue_delayed alone
--   of a queue  (queue, id)>($,$) AND queue<=$ AND tag IS NULL, the same order     scheduled_queue_delayed
--   of all      id>$ AND tag IS NULL ORDER BY id LIMIT $                           scheduled_delayed
--   waiting     (queue, id)>($,$) AND queue<=$ AND tag IS NOT NULL, the same order scheduled_queue_waiting
-- A page narrowed to a kind still reads `scheduled_kind`, past the jobs of this kind in the other state: two more
-- indexes would be paid for by each job, for a list that few ask for. A scheduled job is written with two more entries,
-- a job of the backlog with one; none of them is on the way of a plain job.
--
-- Locks: SHARE on `scheduled`: scheduling, and publishing of scheduled jobs, wait while the indexes are built.

CREATE INDEX scheduled_delayed ON jobs.scheduled (id) WHERE tag IS NULL;
CREATE INDEX scheduled_queue_delayed ON jobs.scheduled (queue, id) WHERE tag IS NULL;
CREATE INDEX scheduled_queue_waiting ON jobs.scheduled (queue, id) WHERE tag IS NOT NULL;
