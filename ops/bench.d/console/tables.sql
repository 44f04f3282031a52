-- Jobs of a month in the job store, as they are after much has gone wrong: delayed and dead ones over all queues and
-- kinds, each with an envelope as the product writes it. The last twenty have a kind of their own. All are due in a
-- year, so that no process that runs over this database publishes any. Beside them a tenth as many that wait for their
-- turn in a fair queue, and as many messages of the outbox, which a worker and a relay would take: run neither.
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

-- A fair queue with a backlog of forty merchants, all of it older than what is delayed.
UPDATE jobs.queues SET fair = true WHERE name = 'webhooks';
INSERT INTO jobs.scheduled (id, queue, kind, due_at, envelope, priority, tag)
  SELECT id, 'webhooks', 'deliver_webhook', at, replace(bench.envelope(id, 'deliver_webhook', at, bench.subject(n)),
    '"subject":', '"fair_key":"merchant ' || n % 40 || '","subject":'), 1, n * 25000::bigint
  FROM generate_series(1, :jobs / 10) AS n,
    LATERAL (SELECT :begin - 86400000 + n AS at) AS held,
    LATERAL (SELECT bench.id_at(held.at, 'fair ' || n) AS id) AS made;

-- The outbox: four messages a subject, which no relay has sent yet; some of them are set aside.
INSERT INTO outbox (id, position, merchant_id, subject, kind, order_id, sequence, at, data)
  SELECT bench.id_at(:now - 60000, 'message ' || n), nextval('outbox_position'), bench.id_at(:begin, 'merchant'),
    subject, 'order.placed', subject, 1 + n % 4, to_timestamp((:now - 60000) / 1000.0), '{}'
  FROM generate_series(1, :jobs / 10) AS n,
    LATERAL (SELECT bench.id_at(:now - 60000, 'order ' || n / 4) AS subject) AS made;
INSERT INTO outbox_unsent (position, id, subject, at, relay, leased_until)
  SELECT position, id, subject, at, CASE WHEN position % 500 = 0 THEN 'set aside' END,
    CASE WHEN position % 500 = 0 THEN now() + interval '1 year' END
  FROM outbox WHERE merchant_id = bench.id_at(:begin, 'merchant');

-- A thousand keys of three limits, with leases of three workers each; at one key very many jobs are parked.
CREATE FUNCTION bench.limit_name(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['endpoint', 'mail_domain', 'provider'])[1 + n % 3] $$;

INSERT INTO jobs.limit_leases (limit_name, limit_key, holder, slots, expires_at)
  SELECT bench.limit_name(n), 'key ' || n, 'worker-' || worker, 1, :now + 31536000000
  FROM generate_series(1, 1000) AS n, generate_series(1, 3) AS worker;
INSERT INTO jobs.limit_blocks (limit_name, limit_key, id, starts, granted_at, ends_at, counts_until)
  SELECT bench.limit_name(n), 'key ' || n, n * 10 + block, 5, :now, :now + 1000, :now + 31536000000
  FROM generate_series(1, 1000) AS n, generate_series(1, 2) AS block;
INSERT INTO jobs.limit_parked (job, limit_name, limit_key, parked_at, ends_at)
  SELECT bench.id_at(:now, 'parked ' || n || '/' || job), bench.limit_name(n), 'key ' || n, :now - job,
    :now + 31536000000
  FROM generate_series(1, 1000) AS n, generate_series(1, CASE WHEN n = 1 THEN 10000 ELSE 5 END) AS job;

-- As many operations as are kept once they have ended, each with a sample.
INSERT INTO jobs.operations (id, state, created_at, content, version)
  SELECT id, state, at, json_build_object(
      'id', 'op_' || id, 'state', state, 'created_at', told, 'began_at', told, 'ended_at', told,
      'plan', json_build_object(
        'items', 'jobs', 'verb', 'redrive', 'rate', 100, 'who', CASE WHEN n % 2 = 0 THEN 'bench' ELSE 'ada' END,
        'why', 'the endpoint is back', 'filter', json_build_object('queue', bench.queue(bench.kind(n)))),
      'counts', json_build_object('matched', 1000, 'is_exact', true, 'done', 990, 'skipped', 9, 'failed', 1),
      'effect', 'becomes ready with fresh attempts', 'last_error', bench.error(n), 'is_cancelling', false,
      'limits', json_build_array(), 'sample', (
        SELECT json_agg(json_build_object('id', 'job_' || bench.id_at(at, 'item ' || item), 'text', bench.error(item)))
        FROM generate_series(1, 10) AS item),
      'position', json_build_object('holder', 'scheduler-1', 'after', NULL, 'in_hand', json_build_array(), 'then', NULL)
    )::text, 3
  FROM generate_series(1, 900) AS n,
    LATERAL (SELECT :begin + n * (:now - :begin) / 901 AS at) AS previewed,
    LATERAL (SELECT bench.id_at(at, 'operation ' || n) AS id, CASE n % 9 WHEN 0 THEN 'failed' ELSE 'done' END AS state,
      to_char(to_timestamp(at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS told) AS made;
