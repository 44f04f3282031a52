-- Fair queues: within a priority, jobs start in the order of their `tag`, the virtual time at which their key may have
-- its next start. A row that becomes ready in a fair queue gets the later of the queue's clock (`fair_times`) and that
-- of its key (`fair_keys`), which it moves on by a unit of 1000000 over the weight of the key. A retry that becomes
-- ready is such a row; one that is released or rescued keeps its tag, and with it its position. A claim sets the
-- queue's clock and deletes keys that are behind it, which are as good as new. Triggers, because no statement that
-- makes a row ready can forget them. In all other queues `tag` is NULL: their claims, and the index of these, are as
-- before.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   fair claim  WHERE queue=? AND state='ready' AND blocked=0 AND tag IS NOT NULL ORDER BY priority, tag, sequence
--               SEARCH jobs USING INDEX jobs_fair (queue=? AND blocked=?), no sort; named in the statement
--   share       ... AND priority=? AND (tag, sequence)>(?, ?) ORDER BY tag, sequence LIMIT ?
--               SEARCH jobs USING INDEX jobs_fair (queue=? AND blocked=? AND priority=? AND tag>?), no sort
--   plain claim WHERE queue=? AND state='ready' AND blocked=0 ORDER BY priority, sequence LIMIT ?
--               SEARCH jobs USING INDEX jobs_ready (queue=? AND blocked=?), no sort, as before
--   clean-up    WHERE queue=? AND priority=? AND next_tag<=? LIMIT ?
--               SEARCH fair_keys USING INDEX fair_keys_behind (queue=? AND priority=? AND next_tag<?)

ALTER TABLE queues ADD COLUMN fair INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN fair_key TEXT;
ALTER TABLE jobs ADD COLUMN tag INTEGER;
CREATE INDEX jobs_fair ON jobs (queue, blocked, priority, tag) WHERE state = 'ready' AND tag IS NOT NULL;

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
  PRIMARY KEY (queue, priority, key)
) STRICT;
CREATE INDEX fair_keys_behind ON fair_keys (queue, priority, next_tag);

CREATE TRIGGER jobs_tag_on_insert AFTER INSERT ON jobs
WHEN NEW.state = 'ready' AND (SELECT fair FROM queues WHERE name = NEW.queue) = 1
BEGIN
  UPDATE jobs SET tag = max(
      coalesce((SELECT tag FROM fair_times WHERE queue = NEW.queue AND priority = NEW.priority), 0),
      coalesce((SELECT next_tag FROM fair_keys
                WHERE queue = NEW.queue AND priority = NEW.priority AND key = coalesce(NEW.fair_key, '')), 0))
    WHERE sequence = NEW.sequence;
  INSERT INTO fair_keys (queue, priority, key, next_tag)
    SELECT NEW.queue, NEW.priority, coalesce(NEW.fair_key, ''), tag + 1000000 / coalesce(
        (SELECT weight FROM fair_weights WHERE queue = NEW.queue AND key = coalesce(NEW.fair_key, '')), 1)
    FROM jobs WHERE sequence = NEW.sequence
    ON CONFLICT (queue, priority, key) DO UPDATE SET next_tag = excluded.next_tag;
END;

CREATE TRIGGER jobs_tag_on_ready AFTER UPDATE OF state, queue, priority ON jobs
WHEN NEW.state = 'ready'
  AND (OLD.state IN ('delayed', 'dead') OR OLD.queue <> NEW.queue OR OLD.priority <> NEW.priority OR NEW.tag IS NULL)
  AND (SELECT fair FROM queues WHERE name = NEW.queue) = 1
BEGIN
  UPDATE jobs SET tag = max(
      coalesce((SELECT tag FROM fair_times WHERE queue = NEW.queue AND priority = NEW.priority), 0),
      coalesce((SELECT next_tag FROM fair_keys
                WHERE queue = NEW.queue AND priority = NEW.priority AND key = coalesce(NEW.fair_key, '')), 0))
    WHERE sequence = NEW.sequence;
  INSERT INTO fair_keys (queue, priority, key, next_tag)
    SELECT NEW.queue, NEW.priority, coalesce(NEW.fair_key, ''), tag + 1000000 / coalesce(
        (SELECT weight FROM fair_weights WHERE queue = NEW.queue AND key = coalesce(NEW.fair_key, '')), 1)
    FROM jobs WHERE sequence = NEW.sequence
    ON CONFLICT (queue, priority, key) DO UPDATE SET next_tag = excluded.next_tag;
END;
