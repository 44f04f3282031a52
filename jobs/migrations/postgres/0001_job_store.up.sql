-- What a broker cannot do for its jobs: schedule, cancel, pause, keep keys unique. Plain jobs never come here.
--
-- `scheduled` holds jobs whose time is farther off than the broker's delay queues reach; the row is the truth until
-- its job was published with a confirm. `claim` is drawn afresh by whoever is about to publish it and is asked for
-- when the row is deleted: a job scheduled anew meanwhile stays. `control` is one row, a counter raised by every
-- change of a pause or a cancel request, so that watching both costs a read of one row. Times are milliseconds since
-- the Unix epoch, as everywhere; a session id is the bits of an unsigned number. `scheduled` and `consumers` leave
-- room in their pages: a claim, and a consumer's note, then change a row where it lies.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   due        due_at<=$ AND claimed_until<=$ ORDER BY due_at LIMIT $     scheduled_due, in its order
--   listing    id>$ ORDER BY id LIMIT $                                   scheduled_pkey; kinds are filtered along it
--   per queue  queue=$ AND id>$ ORDER BY id LIMIT $; count; purge         scheduled_queue
--   release    job=ANY($)                                                 unique_keys_job
--   requests   ORDER BY requested_at DESC LIMIT $; expiry                 cancel_requests_age
--   notes      queue=$ AND noted_at>=$                                    consumers_queue; expiry: consumers_age
-- `queues` and `control` are a page each and are read whole. Unique keys have no index by queue: only a purge asks for
-- it, and every reservation would pay.
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.queues (
  name text PRIMARY KEY,
  paused boolean NOT NULL DEFAULT false
);

CREATE TABLE jobs.control (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version bigint NOT NULL
);
INSERT INTO jobs.control (version) VALUES (1);

CREATE TABLE jobs.cancel_requests (
  job uuid PRIMARY KEY,
  reason text NOT NULL,
  requested_at bigint NOT NULL
);
CREATE INDEX cancel_requests_age ON jobs.cancel_requests (requested_at);

CREATE TABLE jobs.scheduled (
  id uuid PRIMARY KEY,
  queue text NOT NULL,
  kind text NOT NULL,
  due_at bigint NOT NULL,
  envelope text NOT NULL,
  crashes bigint NOT NULL DEFAULT 0,
  last_error text,
  first_failed_at bigint,
  claim bigint NOT NULL DEFAULT 0,
  claimed_until bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX scheduled_due ON jobs.scheduled (due_at);
CREATE INDEX scheduled_queue ON jobs.scheduled (queue, id);

CREATE TABLE jobs.unique_keys (
  key text PRIMARY KEY,
  job uuid NOT NULL,
  queue text NOT NULL,
  reserved_at bigint NOT NULL
);
CREATE INDEX unique_keys_job ON jobs.unique_keys (job);

CREATE TABLE jobs.consumers (
  session bigint PRIMARY KEY,
  name text NOT NULL,
  queue text NOT NULL,
  running bigint NOT NULL,
  reached_at bigint,
  noted_at bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX consumers_queue ON jobs.consumers (queue);
CREATE INDEX consumers_age ON jobs.consumers (noted_at);
