-- Schedules, and the scheduler that leads. `timing` and `definition` are JSON of the program; times are milliseconds
-- since the Unix epoch, and without a next one the schedule has ended. `schedule_leader` is one row: `fence` is raised
-- by each change of the leader, which a write of the former one no longer matches, `beats` by each sign of life. Both
-- leave room in their pages: a change stays where the row lies.
--
-- Indexes: the primary keys. There are 1000 schedules at most, which are read whole.
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.schedules (
  name text PRIMARY KEY,
  timing text NOT NULL,
  definition text NOT NULL,
  paused boolean NOT NULL DEFAULT false,
  orphaned boolean NOT NULL DEFAULT false,
  next_fire_at bigint,
  last_fire_at bigint,
  last_job text
) WITH (fillfactor = 80);

CREATE TABLE jobs.schedule_leader (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  holder text,
  fence bigint NOT NULL,
  beats bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO jobs.schedule_leader (fence, beats) VALUES (0, 0);
