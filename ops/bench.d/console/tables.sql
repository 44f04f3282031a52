-- Jobs of a month in the job store, as they are after much has gone wrong: delayed and dead ones over all queues and
-- kinds, each with an envelope as the product writes it. The last twenty have a kind of their own. All are due in a
-- year, so that no process that runs over this database publishes any.
--
-- Variables: jobs (delayed and dead, three to two), begin and now (milliseconds), order (one order with dead jobs).
\set ON_ERROR_STOP on
SET synchronous_commit = off;

CREATE SCHEMA bench;

-- An id as the product draws it at this time; `salt` tells ids of one time apart.
CREATE FUNCTION bench.id_at(at bigint, salt text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (lpad(to_hex(at), 12, '0') || '7' || substr(md5(salt), 1, 3) || '8' || substr(md5(salt), 4, 15))::uuid $$;

CREATE FUNCTION bench.kind(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['deliver_webhook', 'send_email', 'deliver_webhook', 'charge_payment', 'deliver_webhook', 'fulfil_order',
    'send_email', 'deliver_webhook', 'charge_payment', 'apply_provider_report', 'deliver_webhook', 'refund_payment',
    'deliver_webhook', 'send_welcome', 'send_email', 'deliver_webhook', 'delete_expired', 'fulfil_order',
    'deliver_webhook'])[1 + n % 19] $$;

CREATE FUNCTION bench.queue(kind text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE kind WHEN 'deliver_webhook' THEN 'webhooks' WHEN 'fulfil_order' THEN 'fulfilment'
    WHEN 'delete_expired' THEN 'housekeeping' WHEN 'send_email' THEN 'email' WHEN 'send_welcome' THEN 'email'
    WHEN 'send_verification' THEN 'email' ELSE 'payments' END $$;

CREATE FUNCTION bench.error(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['the endpoint answered 503', 'connection refused', 'timed out after 10 s', 'the provider answers 429',
    'mailbox unavailable', 'TLS handshake failed', 'deadline exceeded while waiting for a slot'])[1 + n % 7]
    || ' (request ' || n || ')' $$;

-- Eight jobs an order.
CREATE FUNCTION bench.subject(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT 'ord_' || bench.id_at(1700000000000 + n / 8, 'order ' || n / 8) $$;

CREATE FUNCTION bench.envelope(id uuid, kind text, at bigint, subject text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT '{"id":"job_' || id || '","kind":"' || kind || '","version":1,"queue":"' || bench.queue(kind)
    || '","priority":"default","attempt":7,"max_attempts":20,"created_at":"'
    || to_char(to_timestamp(at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    || '","run_at":null,"trace":null,"unique_key":"' || kind || '/' || subject
    || '","concurrency_key":null,"subject":"' || subject || '","payload":{"order":"' || subject
    || '","note":"' || repeat('0123456789', 30) || '"}}' $$;

-- The numbers as jobs: a row each, with times in their order.
CREATE FUNCTION bench.jobs(salt text, first bigint, last bigint, begin bigint, step numeric)
RETURNS TABLE (n bigint, id uuid, kind text, at bigint, subject text) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT n, bench.id_at(at, salt || n), kind, at, bench.subject(n)
  FROM generate_series(first, last) AS n,
    LATERAL (SELECT begin + (n * step)::bigint AS at,
      CASE WHEN n > last - 20 THEN 'send_verification' ELSE bench.kind(n) END AS kind) AS made $$;

INSERT INTO jobs.scheduled (id, queue, kind, due_at, envelope, last_error, first_failed_at)
  SELECT id, bench.queue(kind), kind, :now + 31536000000 + n, bench.envelope(id, kind, at, subject), bench.error(n), at
  FROM bench.jobs('delayed', 1, :jobs * 3 / 5, :begin, (:now - :begin) / (:jobs * 3.0 / 5));

INSERT INTO jobs.dead_jobs (id, queue, kind, reason, died_at, first_failed_at, crashes, last_error, envelope)
  SELECT id, bench.queue(kind), kind,
    (ARRAY['exhausted', 'exhausted', 'exhausted', 'crashed', 'exhausted', 'unknown_kind', 'undecodable'])[1 + n % 7],
    at + 60000, at, n % 3, bench.error(n), bench.envelope(id, kind, at, subject)
  FROM bench.jobs('dead', 1, :jobs * 2 / 5, :begin, (:now - :begin) / (:jobs * 2.0 / 5));

-- Those of the order: a webhook for each of its events that was given up.
INSERT INTO jobs.dead_jobs (id, queue, kind, reason, died_at, first_failed_at, crashes, last_error, envelope)
  SELECT id, 'webhooks', 'deliver_webhook', 'exhausted', :now, :now - 1000, 0, bench.error(n),
    bench.envelope(id, 'deliver_webhook', :now - 1000, :'order')
  FROM (SELECT n, bench.id_at(:now - 1000, 'of the order ' || n) AS id FROM generate_series(1, 15) AS n) AS made;

INSERT INTO jobs.attempts (job, attempt, started_at, kind, queue, subject, worker, created_at, duration_ns, outcome,
    error)
  SELECT bench.id_at(:now - 1000, 'of the order ' || n), attempt, :now - 1000 + n * 20 + attempt, 'deliver_webhook',
    'webhooks', :'order', 'worker-1', :now - 1000, 5000000, CASE attempt WHEN 20 THEN 'dead' ELSE 'retried' END,
    bench.error(n)
  FROM generate_series(1, 15) AS n, generate_series(1, 20) AS attempt;
