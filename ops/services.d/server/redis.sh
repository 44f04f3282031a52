# shellcheck shell=bash
# Redis 7 without persistence, bounded memory, password from a file that `ps` does not show.

redis_needs() { echo "/usr/bin/redis-server redis-server"; }
redis_ports() { echo "redis 6379 127.0.0.1"; }
redis_url() { echo "redis://:$(secret redis)@127.0.0.1:$(port redis)/0"; }
redis_env() { echo "ORDERWORKS_TEST_REDIS_URL=$(redis_url)"; }
redis_address() { echo "$(port redis) $(redis_url)"; }
redis_ready() { PROBE_PASSWORD=$(secret redis) probe redis "$(port redis)"; }

redis_start() {
  local user dir=$DATA/redis
  user=$(service_user redis)
  own_dir "$user" "$dir"
  {
    printf 'bind 127.0.0.1\nport %s\ndir %s\nrequirepass %s\n' "$(port redis)" "$dir" "$(secret redis)"
    redis_common
  } | put "$user" "$dir/redis.conf"
  launch redis "$user" /usr/bin/redis-server "$dir/redis.conf"
}

# Also for the container.
redis_common() {
  cat <<'TEXT'
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
TEXT
}
