# shellcheck shell=bash
# The same servers as containers (compose/services.yml) where a Docker engine answers. Ports,
# passwords, readiness checks and variables are those of packages mode; data lies in named volumes.

containers_available() {
  command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1 &&
    docker compose version >/dev/null 2>&1
}

# One project per data folder, so that two checkouts do not share containers.
compose() {
  docker compose -p "orderworks-$(printf '%s' "$DATA" | cksum | cut -d' ' -f1)" \
    --env-file "$DATA/compose.env" -f "$ROOT/compose/services.yml" "$@"
}

containers_of() {
  case $1 in
    mail | stripe) ;;
    monitoring) monitoring_processes ;;
    cassandra) cassandra_processes ;;
    *) echo "$1" ;;
  esac
}

containers_up() {
  local name list=()
  containers_settings
  for name; do
    in_container "$name" || continue
    if [[ $name == replica ]]; then replica_account; fi
    if [[ $name == monitoring ]]; then monitoring_account; fi
    mapfile -t -O "${#list[@]}" list < <(containers_of "$name")
  done
  # --wait: the health checks order the ring, whose nodes join one after the other.
  ((${#list[@]} == 0)) || compose up -d --wait --no-recreate "${list[@]}"
}

container_running() { compose ps --status running --services 2>/dev/null | grep -qx "$1"; }
container_healthy() {
  local id
  id=$(compose ps -q "$1") && [[ $(docker inspect -f '{{.State.Health.Status}}' "$id") == healthy ]]
}
container_stop() {
  local list
  mapfile -t list < <(containers_of "$1")
  [[ ! -e $DATA/compose.env ]] || compose stop -t 30 "${list[@]}"
}

# Settings files are mounted and hold no secret: passwords go by compose.env, which is private.
containers_settings() {
  local key dir=$DATA/containers
  mkdir -p "$dir"
  { echo 'listeners.tcp.1 = 0.0.0.0:5672' && rabbitmq_common; } >"$dir/rabbitmq.conf"
  echo '[rabbitmq_management,rabbitmq_prometheus].' >"$dir/enabled_plugins"
  redis_common >"$dir/redis.conf"
  cp "$HERE/postgres/queries.yaml" "$dir/queries.yaml"
  prometheus_settings localhost:9090 /targets /rules >"$dir/prometheus.yml"
  prometheus_target rabbitmq rabbitmq:15692
  {
    echo "SETTINGS=$dir"
    echo "TARGETS=$DATA/prometheus-targets"
    echo "RULES=$ROOT/ops/prometheus/rules"
    for key in postgres replica pgbouncer rabbitmq rabbitmq_management rabbitmq_prometheus redis cassandra prometheus; do
      echo "PORT_${key^^}=$(port "$key")"
    done
    for key in postgres replicator exporter rabbitmq redis; do echo "PASSWORD_${key^^}=$(secret "$key")"; done
  } | put "$(id -un)" "$DATA/compose.env"
}
