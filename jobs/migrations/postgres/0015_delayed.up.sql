-- Jobs that wait for a time, apart from those that wait for their turn in a fair queue: counted and listed without
-- passing over a long backlog of the latter. Until now the count was the difference of two over all of a queue, and a
-- page of delayed jobs read past every job of the backlog that was older.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   count       queue>=$ AND queue<=$ AND tag IS NULL ORDER BY queue, id LIMIT $   scheduled_queue_delayed alone
--   of a queue  (queue, id)>($,$) AND queue<=$ AND tag IS NULL, the same order     scheduled_queue_delayed
--   of all      id>$ AND tag IS NULL ORDER BY id LIMIT $                           scheduled_delayed
-- A page narrowed to a kind still reads `scheduled_kind`, past the jobs of this kind in the backlog: two more indexes
-- would be paid for by each job, for a list that few ask for. A scheduled job is written with two more entries, a job
-- of the backlog with none; neither is on the way of a plain job.
--
-- Locks: SHARE on `scheduled`: scheduling, and publishing of scheduled jobs, wait while the indexes are built.

CREATE INDEX scheduled_delayed ON jobs.scheduled (id) WHERE tag IS NULL;
CREATE INDEX scheduled_queue_delayed ON jobs.scheduled (queue, id) WHERE tag IS NULL;
