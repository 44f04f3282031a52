# shellcheck shell=bash
# PgBouncer in transaction mode in front of the PostgreSQL server.

pgbouncer_needs() { echo "/usr/sbin/pgbouncer pgbouncer"; }
pgbouncer_ports() { echo "pgbouncer 6432 127.0.0.1"; }
pgbouncer_env() { echo "ORDERWORKS_TEST_PGBOUNCER_URL=$(postgres_url pgbouncer)"; }
pgbouncer_address() { echo "$(port pgbouncer) $(postgres_url pgbouncer)"; }
# SIGINT waits for transactions in flight; SIGTERM would cut them.
pgbouncer_stop() { stop_process pgbouncer INT 10; }

pgbouncer_ready() {
  if [[ $MODE == containers ]]; then
    container_healthy pgbouncer
  else
    [[ $(pg_query pgbouncer "select 1" orderworks) == 1 ]]
  fi
}

pgbouncer_start() {
  local user dir=$DATA/pgbouncer
  user=$(service_user pgbouncer)
  own_dir "$user" "$dir"
  echo "\"orderworks\" \"$(secret postgres)\"" | put "$user" "$dir/users"
  put "$user" "$dir/pgbouncer.ini" <<TEXT
[databases]
* = host=127.0.0.1 port=$(port postgres)
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $(port pgbouncer)
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $dir/users
admin_users = orderworks
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
ignore_startup_parameters = extra_float_digits
TEXT
  launch pgbouncer "$user" /usr/sbin/pgbouncer "$dir/pgbouncer.ini"
}
