-- Order keys over a broker: jobs of a queue with one key run one after the other, in the order of publishing. A row of
-- `order_keys` says which job is at the head of its key: from publishing on until it ends, wherever it waits or runs.
-- While it waits here it is a scheduled job like any other. The jobs behind it are rows of `scheduled` with an
-- `order_position`, so that listing, cancelling, altering and purging of them are those of scheduled jobs; they are
-- never due. The end of the head makes the lowest position the next one, and its row an ordinary one; without another
-- job the row of the key is deleted, so there are at most as many as jobs. A dead job keeps its position, which it
-- takes again when it is redriven. Times are milliseconds since the Unix epoch.
--
-- A release before this one takes jobs behind a head for due ones and publishes them, and frees no key: publish jobs
-- with an order key once all processes run this release.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   next       queue=$ AND order_key=$ AND order_position IS NOT NULL ORDER BY order_position LIMIT 1  scheduled_line
--   by key     queue=$ AND key=$                                                                       order_keys_pkey
--   ended      job=ANY($)                                                                              order_keys_job
--   due        as before; jobs behind a head are not in scheduled_due, which claims would have to skip
--
-- Locks: ACCESS EXCLUSIVE on two tables, for changes of the catalog; then publishing of scheduled jobs waits while the
-- indexes are built.

ALTER TABLE jobs.scheduled
  ADD COLUMN order_key text,
  ADD COLUMN order_position bigint;
CREATE INDEX scheduled_line ON jobs.scheduled (queue, order_key, order_position) WHERE order_position IS NOT NULL;
DROP INDEX jobs.scheduled_due;
CREATE INDEX scheduled_due ON jobs.scheduled (due_at) WHERE tag IS NULL AND order_position IS NULL;
ALTER TABLE jobs.dead_jobs ADD COLUMN order_position bigint;

CREATE SEQUENCE jobs.order_positions;
CREATE TABLE jobs.order_keys (
  queue text NOT NULL,
  key text NOT NULL,
  job uuid NOT NULL,
  order_position bigint NOT NULL,
  taken_at bigint NOT NULL,
  PRIMARY KEY (queue, key)
);
CREATE INDEX order_keys_job ON jobs.order_keys (job);
