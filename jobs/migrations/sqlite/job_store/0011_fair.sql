-- Fair queues over a broker: jobs that wait for their turn in the store, because the broker's queue is long enough.
-- They are rows of `scheduled`, so that listing, cancelling, altering and publishing of them are those of scheduled
-- jobs; `tag` is not NULL, `due_at` is the time since when they wait. Of a priority, the lowest tag is published next:
-- the virtual time at which the key may have its next start. `fair_times` is the clock of a queue, `fair_keys` those of
-- its keys, with the `step` that the last batch moved each on. Keys behind their queue are as good as new, and deleted.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   next       WHERE queue=? AND priority=? AND tag IS NOT NULL AND claimed_until<=? ORDER BY tag, id LIMIT ?
--              SEARCH scheduled USING INDEX scheduled_fair (queue=? AND priority=? AND tag>?), no sort
--   due        WHERE due_at<=? AND claimed_until<=? AND tag IS NULL ORDER BY due_at LIMIT ?
--              SEARCH scheduled USING INDEX scheduled_due (due_at<?): the backlog is not in it
--   clean-up   WHERE queue=? AND priority=? AND next_tag<=? LIMIT ?
--              SEARCH fair_keys USING COVERING INDEX fair_keys_behind (queue=? AND priority=? AND next_tag<?)

ALTER TABLE queues ADD COLUMN fair INTEGER NOT NULL DEFAULT 0;
ALTER TABLE scheduled ADD COLUMN priority INTEGER;
ALTER TABLE scheduled ADD COLUMN tag INTEGER;
CREATE INDEX scheduled_fair ON scheduled (queue, priority, tag, id) WHERE tag IS NOT NULL;
DROP INDEX scheduled_due;
CREATE INDEX scheduled_due ON scheduled (due_at) WHERE tag IS NULL;

CREATE TABLE fair_weights (
  queue TEXT NOT NULL,
  key TEXT NOT NULL,
  weight INTEGER NOT NULL,
  PRIMARY KEY (queue, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE fair_times (
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  tag INTEGER NOT NULL,
  PRIMARY KEY (queue, priority)
) STRICT, WITHOUT ROWID;

CREATE TABLE fair_keys (
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  key TEXT NOT NULL,
  next_tag INTEGER NOT NULL,
  step INTEGER NOT NULL,
  PRIMARY KEY (queue, priority, key)
) STRICT;
CREATE INDEX fair_keys_behind ON fair_keys (queue, priority, next_tag);
