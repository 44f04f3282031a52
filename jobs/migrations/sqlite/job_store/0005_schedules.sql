-- Schedules, and the scheduler that leads. `timing` and `definition` are JSON of the program; times are milliseconds
-- since the Unix epoch, and without a next one the schedule has ended. `schedule_leader` is one row: `fence` is raised
-- by each change of the leader, which a write of the former one no longer matches, `beats` by each sign of life.
--
-- Indexes: the primary key. There are 1000 schedules at most, which are read whole.

CREATE TABLE schedules (
  name TEXT PRIMARY KEY,
  timing TEXT NOT NULL,
  definition TEXT NOT NULL,
  paused INTEGER NOT NULL DEFAULT 0,
  orphaned INTEGER NOT NULL DEFAULT 0,
  next_fire_at INTEGER,
  last_fire_at INTEGER,
  last_job TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE schedule_leader (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  holder TEXT,
  fence INTEGER NOT NULL,
  beats INTEGER NOT NULL
) STRICT;
INSERT INTO schedule_leader VALUES (1, NULL, 0, 0);
