-- Fair queues over a broker: jobs that wait for their turn in the store, because the broker's queue is long enough.
-- They are rows of `scheduled`, so that listing, cancelling, altering and publishing of them are those of scheduled
-- jobs; `tag` is not NULL, `due_at` is the time since when they wait. Of a priority, the lowest tag is published next:
-- the virtual time at which the key may have its next start. `fair_times` is the clock of a queue, `fair_keys` those of
-- its keys, with the `step` that the last batch moved each on. Keys behind their queue are as good as new, and deleted.
-- A release before this one takes such jobs for due ones and publishes them.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   next       queue=$ AND priority=$ AND claimed_until<=$ ORDER BY tag, id LIMIT $   scheduled_fair, in its order
--   backlog    count(*), min(due_at) of queue=$                                       scheduled_fair
--   due        as before; the backlog is not in scheduled_due, which claims would have to skip
--   clean-up   queue=$ AND priority=$ AND next_tag<=$ LIMIT $                         fair_keys_behind
--
-- Locks: ACCESS EXCLUSIVE on two tables, for changes of the catalog; then publishing of scheduled jobs waits while the
-- index of those that are due is built again.

ALTER TABLE jobs.queues ADD COLUMN fair boolean NOT NULL DEFAULT false;
ALTER TABLE jobs.scheduled
  ADD COLUMN priority bigint,
  ADD COLUMN tag bigint;
CREATE INDEX scheduled_fair ON jobs.scheduled (queue, priority, tag, id) INCLUDE (due_at) WHERE tag IS NOT NULL;
DROP INDEX jobs.scheduled_due;
CREATE INDEX scheduled_due ON jobs.scheduled (due_at) WHERE tag IS NULL;

CREATE TABLE jobs.fair_weights (
  queue text NOT NULL,
  key text NOT NULL,
  weight bigint NOT NULL,
  PRIMARY KEY (queue, key)
);

CREATE TABLE jobs.fair_times (
  queue text NOT NULL,
  priority bigint NOT NULL,
  tag bigint NOT NULL,
  PRIMARY KEY (queue, priority)
) WITH (fillfactor = 50);

CREATE TABLE jobs.fair_keys (
  queue text NOT NULL,
  priority bigint NOT NULL,
  key text NOT NULL,
  next_tag bigint NOT NULL,
  step bigint NOT NULL,
  PRIMARY KEY (queue, priority, key)
);
CREATE INDEX fair_keys_behind ON jobs.fair_keys (queue, priority, next_tag);
