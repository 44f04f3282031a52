#!/bin/bash
# cassandra-roles.sh HOST: roles of a Cassandra that asks for passwords. May be run again.
#   PASSWORD       of `orderworks`, which may make keyspaces, and so owns the one it makes
#   ADMINISTRATOR  of `administrator`, which takes the place of the login that every Cassandra begins with
#   COPIES         of roles and passwords, 1 if unset; with several nodes a login must not hang on one of them
# In a ring of several nodes it may fail at first, as most nodes have no copy of the first login yet: reading it gives them
# one, so that it succeeds when it is run again.
set -euo pipefail
host=$1

as() { cqlsh "$host" "${CQLSH_PORT:-9042}" -u "$1" -p "$2" -e "$3"; }
# Quoted for CQL.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }

if [ "${COPIES:-1}" != 1 ] && as cassandra cassandra 'LIST ROLES' >/dev/null 2>&1; then
  as cassandra cassandra \
    "ALTER KEYSPACE system_auth WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': $COPIES}"
fi
if ! as administrator "$ADMINISTRATOR" 'LIST ROLES' >/dev/null 2>&1; then
  as cassandra cassandra \
    "CREATE ROLE IF NOT EXISTS administrator WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = $(quoted "$ADMINISTRATOR")"
fi
as administrator "$ADMINISTRATOR" "
  ALTER ROLE cassandra WITH SUPERUSER = false AND LOGIN = false;
  CREATE ROLE IF NOT EXISTS orderworks WITH LOGIN = true AND PASSWORD = $(quoted "$PASSWORD");
  GRANT CREATE ON ALL KEYSPACES TO orderworks;"
# A password that was changed; the server takes one every five seconds.
if ! as orderworks "$PASSWORD" 'LIST ROLES' >/dev/null 2>&1; then
  as administrator "$ADMINISTRATOR" "ALTER ROLE orderworks WITH PASSWORD = $(quoted "$PASSWORD")"
fi
