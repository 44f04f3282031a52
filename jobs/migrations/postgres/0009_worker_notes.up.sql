-- What worker processes tell of themselves, a row for each of their queues, and the sizes that an operator gives queues.
-- `note` is JSON of the program, `noted_at` its time in milliseconds since the Unix epoch, by which notes of dead
-- processes are ignored and deleted. In `queue_sizes` the empty worker stands for all processes. A note changes its row
-- where it lies, as no indexed column changes and pages have room.
--
-- Indexes: the primary keys. There are as many notes as processes have queues, which are read whole.
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.worker_notes (
  worker text NOT NULL,
  queue text NOT NULL,
  noted_at bigint NOT NULL,
  note text NOT NULL,
  PRIMARY KEY (worker, queue)
) WITH (fillfactor = 50);

CREATE TABLE jobs.queue_sizes (
  queue text NOT NULL,
  worker text NOT NULL DEFAULT '',
  slots bigint NOT NULL,
  PRIMARY KEY (queue, worker)
);
