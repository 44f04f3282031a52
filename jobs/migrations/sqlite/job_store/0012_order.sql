-- Order keys over a broker: jobs of a queue with one key run one after the other, in the order of publishing. A row of
-- `order_keys` says which job is at the head of its key: from publishing on until it ends, wherever it waits or runs.
-- While it waits here it is a scheduled job like any other. The jobs behind it are rows of `scheduled` with an
-- `order_position`, so that listing, cancelling, altering and purging of them are those of scheduled jobs; they are
-- never due. The end of the head makes the lowest position the next one, and its row an ordinary one; without another
-- job the row of the key is deleted, so there are at most as many as jobs. A dead job keeps its position, which it
-- takes again when it is redriven. `order_positions` counts them.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   next       WHERE queue=? AND order_key=? AND order_position IS NOT NULL ORDER BY order_position LIMIT 1
--              SEARCH scheduled USING INDEX scheduled_line (queue=? AND order_key=? AND order_position>?), no sort
--   ended      WHERE job IN (...)
--              SEARCH order_keys USING INDEX order_keys_job (job=?)
--   due        WHERE due_at<=? AND claimed_until<=? AND tag IS NULL AND order_position IS NULL ORDER BY due_at LIMIT ?
--              SEARCH scheduled USING INDEX scheduled_due (due_at<?): jobs behind a head are not in it

ALTER TABLE scheduled ADD COLUMN order_key TEXT;
ALTER TABLE scheduled ADD COLUMN order_position INTEGER;
CREATE INDEX scheduled_line ON scheduled (queue, order_key, order_position) WHERE order_position IS NOT NULL;
DROP INDEX scheduled_due;
CREATE INDEX scheduled_due ON scheduled (due_at) WHERE tag IS NULL AND order_position IS NULL;
ALTER TABLE dead_jobs ADD COLUMN order_position INTEGER;

CREATE TABLE order_positions (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  last INTEGER NOT NULL
) STRICT;
INSERT INTO order_positions VALUES (1, 0);

CREATE TABLE order_keys (
  queue TEXT NOT NULL,
  key TEXT NOT NULL,
  job TEXT NOT NULL,
  order_position INTEGER NOT NULL,
  taken_at INTEGER NOT NULL,
  PRIMARY KEY (queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX order_keys_job ON order_keys (job);
