-- Bulk operations: what an operator changes of many jobs at once, with plan, progress and counts. `content` is JSON of
-- the program, `created_at` the time of the preview in milliseconds since the Unix epoch; `version` is raised by each
-- write, which asks for the one that its writer has read. An operation that runs changes its row where it lies, as no
-- indexed column changes and pages have room.
--
-- Indexes: the primary key. There are 1000 operations at most, which are read whole.
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.operations (
  id uuid PRIMARY KEY,
  state text NOT NULL,
  created_at bigint NOT NULL,
  content text NOT NULL,
  version bigint NOT NULL
) WITH (fillfactor = 50);
