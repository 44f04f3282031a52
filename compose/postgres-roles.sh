#!/bin/bash
# Run once by the image, on an empty data folder: the product's login owns its database and may do nothing else on the
# server; that of a replica, where one is wanted, may replicate and nothing else, and that of Prometheus' exporter may read
# statistics.
set -euo pipefail

psql -v ON_ERROR_STOP=1 -v login="$ORDERWORKS_LOGIN" --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
CREATE ROLE orderworks LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'login';
CREATE DATABASE orderworks OWNER orderworks;
REVOKE ALL ON DATABASE orderworks FROM PUBLIC;
SQL

psql -v ON_ERROR_STOP=1 -v login="$EXPORTER_LOGIN" --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
CREATE ROLE exporter LOGIN CONNECTION LIMIT 5 PASSWORD :'login';
GRANT pg_monitor TO exporter;
SQL

if [ -n "${REPLICATOR_LOGIN:-}" ]; then
  psql -v ON_ERROR_STOP=1 -v login="$REPLICATOR_LOGIN" --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'login';
SQL
  echo 'host replication replicator all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
