-- What worker processes tell of themselves, a row for each of their queues, and the sizes that an operator gives queues.
-- `note` is JSON of the program, `noted_at` its time in milliseconds since the Unix epoch, by which notes of dead
-- processes are ignored and deleted. In `queue_sizes` the empty worker stands for all processes.
--
-- Indexes: the primary keys. There are as many notes as processes have queues, which are read whole.

CREATE TABLE worker_notes (
  worker TEXT NOT NULL,
  queue TEXT NOT NULL,
  noted_at INTEGER NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (worker, queue)
) STRICT, WITHOUT ROWID;

CREATE TABLE queue_sizes (
  queue TEXT NOT NULL,
  worker TEXT NOT NULL DEFAULT '',
  slots INTEGER NOT NULL,
  PRIMARY KEY (queue, worker)
) STRICT, WITHOUT ROWID;
