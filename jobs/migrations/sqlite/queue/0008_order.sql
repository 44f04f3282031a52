-- Order keys: jobs of a queue with one key run one after the other, in the order of `sequence`. The row at the head of
-- its key is like any other row; those behind it are 'delayed' with `blocked` 3 and without `run_at`, so that claims
-- and the look for due rows skip them, and their own earliest start waits in `order_at`. However the head leaves (it is
-- deleted, dead or moved to another queue), the next row takes its place; a dead row that is revived, and one that
-- comes from another queue, goes behind the head that is there, in its place by `sequence`. Triggers, because no
-- statement that ends a run can forget them. Publishing puts rows behind their key by statements of its own, so that
-- a plain job costs nothing. A row that becomes the head is ready since then, or since the one before it was.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   next      WHERE queue=? AND order_key=? AND state<>'dead' AND blocked=3 ORDER BY sequence LIMIT 1
--             SEARCH jobs USING INDEX jobs_order (queue=? AND order_key=? AND blocked=?), no sort
--   head      WHERE queue=? AND order_key=? AND state<>'dead' AND blocked<3 LIMIT 1
--             SEARCH jobs USING INDEX jobs_order (queue=? AND order_key=? AND blocked<?)
--   claims    as before: rows behind a head are in no index that they read, but for `jobs_delayed`, at its end

ALTER TABLE jobs ADD COLUMN order_key TEXT;
ALTER TABLE jobs ADD COLUMN order_at INTEGER;
CREATE INDEX jobs_order ON jobs (queue, order_key, blocked) WHERE order_key IS NOT NULL AND state <> 'dead';

CREATE TRIGGER jobs_order_on_delete AFTER DELETE ON jobs
WHEN OLD.order_key IS NOT NULL AND OLD.blocked <> 3 AND OLD.state <> 'dead'
BEGIN
  UPDATE jobs SET blocked = 0, state = iif(order_at IS NULL, 'ready', 'delayed'), run_at = order_at, order_at = NULL,
    ready_at = max(ready_at, OLD.ready_at)
  WHERE sequence = (
    SELECT sequence FROM jobs INDEXED BY jobs_order
    WHERE queue = OLD.queue AND order_key = OLD.order_key AND state <> 'dead' AND blocked = 3
    ORDER BY sequence LIMIT 1);
END;

CREATE TRIGGER jobs_order_on_leave AFTER UPDATE OF state, queue ON jobs
WHEN OLD.order_key IS NOT NULL AND OLD.blocked <> 3 AND OLD.state <> 'dead'
  AND (NEW.state = 'dead' OR NEW.queue <> OLD.queue)
BEGIN
  UPDATE jobs SET blocked = 0, state = iif(order_at IS NULL, 'ready', 'delayed'), run_at = order_at, order_at = NULL,
    ready_at = max(ready_at, OLD.ready_at)
  WHERE sequence = (
    SELECT sequence FROM jobs INDEXED BY jobs_order
    WHERE queue = OLD.queue AND order_key = OLD.order_key AND state <> 'dead' AND blocked = 3
    ORDER BY sequence LIMIT 1);
END;

CREATE TRIGGER jobs_order_on_enter AFTER UPDATE OF state, queue ON jobs
WHEN NEW.order_key IS NOT NULL AND NEW.state <> 'dead' AND (OLD.state = 'dead' OR NEW.queue <> OLD.queue)
BEGIN
  UPDATE jobs SET blocked = 3, state = 'delayed', order_at = coalesce(order_at, run_at), run_at = NULL
  WHERE sequence = NEW.sequence;
  UPDATE jobs SET blocked = 0, state = iif(order_at IS NULL, 'ready', 'delayed'), run_at = order_at, order_at = NULL
  WHERE sequence = (
      SELECT sequence FROM jobs INDEXED BY jobs_order
      WHERE queue = NEW.queue AND order_key = NEW.order_key AND state <> 'dead' AND blocked = 3
      ORDER BY sequence LIMIT 1)
    AND NOT EXISTS (
      SELECT 1 FROM jobs AS head INDEXED BY jobs_order
      WHERE head.queue = NEW.queue AND head.order_key = NEW.order_key AND head.state <> 'dead' AND head.blocked < 3);
END;
