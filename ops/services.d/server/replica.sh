# shellcheck shell=bash
# A streaming replica of the PostgreSQL server, with a slot so that it may be away for a while;
# `max_slot_wal_keep_size` bounds what the primary keeps for it. Past that it is copied again.

replica_needs() { postgres_needs; }
replica_ports() { echo "replica 5433 127.0.0.1"; }
replica_env() { echo "ORDERWORKS_TEST_POSTGRES_REPLICA_URL=$(postgres_url replica)"; }
replica_address() { echo "$(port replica) $(postgres_url replica)"; }
replica_stop() { stop_process replica INT 20; }

replica_ready() {
  [[ $(pg_query replica "select pg_is_in_recovery() and exists (select from pg_stat_wal_receiver where status = 'streaming')") == t ]]
}

# The role and the slot live on the primary.
replica_account() {
  pg_query postgres "
    do \$\$ begin
      if not exists (select from pg_roles where rolname = 'replicator') then
        create role replicator login replication password '$(secret replicator)';
      end if;
      if not exists (select from pg_replication_slots where slot_name = 'replica') then
        perform pg_create_physical_replication_slot('replica', true);
      end if;
    end \$\$"
}

# Whether the primary still has what the replica has missed. It answers for the slot, which an older replica outlives.
replica_can_follow() {
  [[ $(pg_query postgres "select wal_status <> 'lost' from pg_replication_slots where slot_name = 'replica'") == t ]]
}

# Nothing is in a copy that is not in the primary.
replica_forget() {
  pg_query postgres "select pg_drop_replication_slot('replica') from pg_replication_slots where slot_name = 'replica'"
  rm -rf "${DATA:?}/replica/data"
}

replica_start() {
  local user dir=$DATA/replica source
  user=$(service_user replica)
  own_dir "$user" "$dir"
  replica_can_follow || replica_forget >/dev/null
  replica_account
  source="host=127.0.0.1 port=$(port postgres) user=replicator passfile=$dir/passfile application_name=replica"
  echo "127.0.0.1:*:*:replicator:$(secret replicator)" | put "$user" "$dir/passfile"
  if [[ ! -e $dir/data ]]; then
    rm -rf "$dir/data.new"
    as_user "$user" "$PG_BIN/pg_basebackup" -D "$dir/data.new" -d "$source" -S replica -X stream -c fast \
      >>"$DATA/log/replica.log" 2>&1
    as_user "$user" touch "$dir/data.new/standby.signal"
    mv "$dir/data.new" "$dir/data"
  fi
  # By command line at every start: the primary's port may have moved.
  pg_launch replica "$dir/data" "primary_conninfo=$source" primary_slot_name=replica
}
