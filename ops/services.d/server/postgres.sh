# shellcheck shell=bash
# PostgreSQL 15: an own cluster under the data folder, TCP only, fsync on, ready for replicas.

PG_BIN=/usr/lib/postgresql/15/bin

postgres_needs() { echo "$PG_BIN/postgres postgresql-15"; }
postgres_ports() { echo "postgres 5432 127.0.0.1"; }
postgres_url() { echo "postgres://orderworks:$(secret postgres)@127.0.0.1:$(port "$1")/orderworks"; }
postgres_env() { echo "ORDERWORKS_TEST_POSTGRES_URL=$(postgres_url postgres)"; }
postgres_address() { echo "$(port postgres) $(postgres_url postgres)"; }
postgres_ready() { [[ $(pg_query postgres "select 1") == 1 ]]; }
postgres_stop() { stop_process postgres INT 20; }

postgres_start() {
  local user dir=$DATA/postgres
  user=$(service_user postgres)
  own_dir "$user" "$dir"
  if [[ ! -e $dir/data ]]; then
    secret postgres | put "$user" "$dir/password"
    # Into another name first: a start that is cut off must not leave half a cluster behind.
    rm -rf "$dir/data.new"
    as_user "$user" "$PG_BIN/initdb" -D "$dir/data.new" -U orderworks --pwfile="$dir/password" \
      -A scram-sha-256 -E UTF8 --locale=C.UTF-8 --data-checksums >>"$DATA/log/postgres.log" 2>&1
    mv "$dir/data.new" "$dir/data"
  fi
  pg_launch postgres "$dir/data"
}

# pg_launch PROCESS FOLDER [SETTING…]. No unix socket: the path of a deep folder would not fit.
pg_launch() {
  local process=$1 folder=$2 setting settings=()
  shift 2
  for setting in listen_addresses=127.0.0.1 unix_socket_directories= "port=$(port "$process")" \
    max_connections=200 fsync=on wal_level=replica max_wal_senders=10 max_slot_wal_keep_size=1GB \
    timezone=UTC "$@"; do
    settings+=(-c "$setting")
  done
  launch "$process" "$(service_user "$process")" "$PG_BIN/postgres" -D "$folder" "${settings[@]}"
}

# pg_query SERVER SQL [DATABASE]: unaligned rows; SQL goes by standard input, for it may hold a password.
pg_query() {
  local options=(-X -q -A -t -v ON_ERROR_STOP=1 -U orderworks -d "${3:-postgres}")
  if [[ $MODE == containers ]]; then
    compose exec -T "$1" psql "${options[@]}" <<<"$2"
  else
    PGPASSWORD=$(secret postgres) PGCONNECT_TIMEOUT=5 \
      psql "${options[@]}" -h 127.0.0.1 -p "$(port "$1")" <<<"$2"
  fi
}

postgres_settle() {
  pg_query postgres "select 1 from pg_database where datname = 'orderworks'" | grep -q 1 ||
    pg_query postgres "create database orderworks"
}
