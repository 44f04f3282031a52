-- Bulk operations: what an operator changes of many jobs at once, with plan, progress and counts. `content` is JSON of
-- the program, `created_at` the time of the preview in milliseconds since the Unix epoch; `version` is raised by each
-- write, which asks for the one that its writer has read.
--
-- Indexes: the primary key. There are 1000 operations at most, which are read whole.

CREATE TABLE operations (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  content TEXT NOT NULL,
  version INTEGER NOT NULL
) STRICT;
