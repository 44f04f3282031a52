-- Order keys: jobs of a queue with one key run one after the other, in the order of `sequence`. A row of `order_keys`
-- names the row at the head of its key, which is like any other row; those behind it are 'delayed' with `blocked` 3 and
-- without `run_at`, so that claims and the look for due rows skip them, and their own earliest start waits in
-- `order_at`. However a head leaves (it is deleted, dead or moved to another queue), the next row takes its place, and
-- without another one the row of the key is deleted; a dead row that is revived, and one that comes from another queue,
-- goes behind the head that is there, in its place by `sequence`. Triggers, because no statement that ends a run can
-- forget them; one that names a new head starts it. Publishing puts rows behind their key by statements of its own, so
-- that a plain job costs none. A head is ready since it was published, or since the one before it was (`since`).
--
-- The trigger of deletions asks for the head by `sequence`: SQLite would read every column of each deleted row, the
-- payload among them, if it named `OLD.order_key`, which is beyond the 32nd.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   next      WHERE queue=? AND order_key=? AND blocked=3 ORDER BY sequence LIMIT 1
--             SEARCH jobs USING INDEX jobs_order (queue=? AND order_key=?), no sort
--   head      WHERE queue=? AND key=?
--             SEARCH order_keys USING PRIMARY KEY (queue=? AND key=?)
--   leaves    WHERE head=?
--             SEARCH order_keys USING COVERING INDEX order_keys_head (head=?)
--   claims    as before: rows behind a head are in no index that they read, but for `jobs_delayed`, at its end

ALTER TABLE jobs ADD COLUMN order_key TEXT;
ALTER TABLE jobs ADD COLUMN order_at INTEGER;
CREATE INDEX jobs_order ON jobs (queue, order_key) WHERE blocked = 3;

CREATE TABLE order_keys (
  queue TEXT NOT NULL,
  key TEXT NOT NULL,
  head INTEGER,
  since INTEGER NOT NULL,
  PRIMARY KEY (queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX order_keys_head ON order_keys (head);

CREATE TRIGGER jobs_order_on_delete AFTER DELETE ON jobs
WHEN EXISTS (SELECT 1 FROM order_keys WHERE head = OLD.sequence)
BEGIN
  UPDATE order_keys SET since = OLD.ready_at, head = (
      SELECT sequence FROM jobs INDEXED BY jobs_order
      WHERE jobs.queue = order_keys.queue AND jobs.order_key = order_keys.key AND jobs.blocked = 3
      ORDER BY sequence LIMIT 1)
  WHERE head = OLD.sequence AND queue = OLD.queue;
END;

CREATE TRIGGER jobs_order_on_leave AFTER UPDATE OF state, queue ON jobs
WHEN OLD.order_key IS NOT NULL AND OLD.blocked <> 3 AND OLD.state <> 'dead'
  AND (NEW.state = 'dead' OR NEW.queue <> OLD.queue)
BEGIN
  UPDATE order_keys SET since = OLD.ready_at, head = (
      SELECT sequence FROM jobs INDEXED BY jobs_order
      WHERE jobs.queue = order_keys.queue AND jobs.order_key = order_keys.key AND jobs.blocked = 3
      ORDER BY sequence LIMIT 1)
  WHERE head = OLD.sequence AND queue = OLD.queue;
END;

CREATE TRIGGER jobs_order_on_enter AFTER UPDATE OF state, queue ON jobs
WHEN NEW.order_key IS NOT NULL AND NEW.state <> 'dead' AND (OLD.state = 'dead' OR NEW.queue <> OLD.queue)
BEGIN
  UPDATE jobs SET blocked = 3, state = 'delayed', order_at = coalesce(order_at, run_at), run_at = NULL
  WHERE sequence = NEW.sequence;
  INSERT INTO order_keys (queue, key, head, since) SELECT NEW.queue, NEW.order_key, NEW.sequence, NEW.ready_at
  WHERE NOT EXISTS (SELECT 1 FROM order_keys WHERE queue = NEW.queue AND key = NEW.order_key);
END;

CREATE TRIGGER order_keys_on_insert AFTER INSERT ON order_keys
BEGIN
  UPDATE jobs SET blocked = 0, state = iif(order_at IS NULL, 'ready', 'delayed'), run_at = order_at, order_at = NULL,
    ready_at = max(ready_at, NEW.since)
  WHERE sequence = NEW.head;
END;

CREATE TRIGGER order_keys_on_next AFTER UPDATE OF head ON order_keys WHEN NEW.head IS NOT NULL
BEGIN
  UPDATE jobs SET blocked = 0, state = iif(order_at IS NULL, 'ready', 'delayed'), run_at = order_at, order_at = NULL,
    ready_at = max(ready_at, NEW.since)
  WHERE sequence = NEW.head;
END;

CREATE TRIGGER order_keys_on_last AFTER UPDATE OF head ON order_keys WHEN NEW.head IS NULL
BEGIN
  DELETE FROM order_keys WHERE queue = NEW.queue AND key = NEW.key;
END;
