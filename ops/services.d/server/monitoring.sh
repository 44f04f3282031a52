# shellcheck shell=bash
# Exporters that show Prometheus the servers of this folder: for the machine, PostgreSQL, its replica and Redis a process
# each; for Cassandra an agent in each node, which starts again where it ran without. RabbitMQ has its own plugin.
# Each is a target in prometheus-targets/; `down` removes those targets.

JMX_AGENT_VERSION=1.0.1
EXPORTERS=(node-exporter postgres-exporter replica-exporter redis-exporter)
EXPORTER_USER=exporter

# Whether SERVER is there to be watched. `wanted` is that of `up_command`, which knows first what will be.
watched() {
  local names
  read -ra names <<<"$(expected) ${wanted:-}"
  contains "$1" "${names[@]}"
}
cassandra_has_agent() { [[ $MODE == packages ]] && watched cassandra; }

monitoring_processes() {
  local server
  echo node-exporter
  for server in postgres replica redis; do
    if watched "$server"; then echo "$server-exporter"; fi
  done
}

monitoring_needs() {
  local process
  for process in $(monitoring_processes); do
    case $process in
      replica-exporter) ;;
      *) echo "/usr/bin/prometheus-$process prometheus-$process" ;;
    esac
  done
  ! cassandra_has_agent || agent_complete || command -v mvn >/dev/null || echo "- maven"
}

agent_jar() { echo "$DATA/cassandra-agent/jmx_prometheus_javaagent-$JMX_AGENT_VERSION.jar"; }
agent_complete() { [[ -e $DATA/cassandra-agent/complete && -e $(agent_jar) ]]; }

monitoring_install() {
  local dir=$DATA/cassandra-agent log=$DATA/log/install.log
  cassandra_has_agent && ! agent_complete || return 0
  say "fetching the JMX exporter $JMX_AGENT_VERSION"
  rm -rf "$dir"
  mvn -q -B dependency:copy "-Dartifact=io.prometheus.jmx:jmx_prometheus_javaagent:$JMX_AGENT_VERSION" \
    "-DoutputDirectory=$dir" >>"$log" 2>&1 || die "Maven Central cannot bring the JMX exporter: see $log"
  touch "$dir/complete"
}

# Prints the option by which a node of Cassandra starts with its agent; nothing where no Prometheus reads it.
cassandra_agent() {
  ! { watched monitoring && agent_complete; } ||
    echo "-javaagent:$(agent_jar)=127.0.0.$1:$(port cassandra_exporter):$2/metrics.yaml"
}
# Those of the nodes that are alive: a test may have killed the others.
agents_answer() {
  local process
  for process in $(cassandra_processes); do
    ! alive "$process" || probe http "http://127.0.0.${process#cassandra-}:$(port cassandra_exporter)/metrics" || return 1
  done
}

# Stops nodes of Cassandra that run without the agent. Adds to `first`.
# shellcheck disable=SC2154 # both are of `up_command`
renew_cassandra() {
  local process pid
  contains monitoring "${second[@]}" && cassandra_has_agent || return 0
  for process in $(cassandra_processes); do
    pid=$(pid_of "$process") || continue
    ! grep -qz '^-javaagent:' "/proc/$pid/cmdline" || continue
    say "$process starts again, with its exporter"
    stop_process "$process" TERM 30
    contains cassandra "${first[@]}" || first+=(cassandra)
  done
}

monitoring_ports() {
  echo "node_exporter 9100 127.0.0.1"
  echo "postgres_exporter 9187 127.0.0.1"
  echo "replica_exporter 9188 127.0.0.1"
  echo "redis_exporter 9121 127.0.0.1"
}
# A Prometheus in a container does not reach the processes of a test on loopback.
monitoring_env() { [[ $MODE == containers ]] || echo "ORDERWORKS_TEST_MONITORING_TARGETS=$DATA/prometheus-targets"; }
monitoring_address() {
  local number
  number=$(port "${1//-/_}")
  echo "$number http://127.0.0.1:$number/metrics"
}
# A container's ports are not published: that it runs is all that is known.
monitoring_answers() { [[ $MODE == containers ]] || probe http "http://127.0.0.1:$(port "${1//-/_}")/metrics"; }
monitoring_ready() {
  local process
  for process in $(monitoring_processes); do monitoring_answers "$process" || return 1; done
  ! cassandra_has_agent || agents_answer
}

# It may read statistics and no table.
monitoring_account() {
  ! watched postgres || pg_query postgres "
    do \$\$ begin
      if not exists (select from pg_roles where rolname = '$EXPORTER_USER') then
        create role $EXPORTER_USER login password '$(secret exporter)' connection limit 5;
        grant pg_monitor to $EXPORTER_USER;
      end if;
    end \$\$"
}

monitoring_start() {
  local process
  monitoring_account
  for process in $(monitoring_processes); do
    alive "$process" || "start_${process//-/_}" "$(service_user "$process")" "$DATA/$process"
  done
}

# start_… USER DIR. Passwords by files: arguments and the environment of a process are seen by others.
start_node_exporter() {
  own_dir "$1" "$2"
  launch node-exporter "$1" /usr/bin/prometheus-node-exporter --web.listen-address="127.0.0.1:$(port node_exporter)"
}
start_postgres_exporter() { start_database_exporter postgres "$@"; }
start_replica_exporter() { start_database_exporter replica "$@"; }
start_database_exporter() {
  own_dir "$2" "$3"
  secret exporter | put "$2" "$3/password"
  put "$2" "$3/queries.yaml" <"$HERE/postgres/queries.yaml"
  launch "$1-exporter" "$2" env "DATA_SOURCE_URI=127.0.0.1:$(port "$1")/postgres?sslmode=disable" \
    "DATA_SOURCE_USER=$EXPORTER_USER" "DATA_SOURCE_PASS_FILE=$3/password" /usr/bin/prometheus-postgres-exporter \
    --web.listen-address="127.0.0.1:$(port "$1_exporter")" --extend.query-path="$3/queries.yaml"
}
start_redis_exporter() {
  local address
  address=redis://127.0.0.1:$(port redis)
  own_dir "$1" "$2"
  printf '{"%s": "%s"}' "$address" "$(secret redis)" | put "$1" "$2/passwords.json"
  launch redis-exporter "$1" /usr/bin/prometheus-redis-exporter -redis.addr "$address" \
    -redis.password-file "$2/passwords.json" -web.listen-address "127.0.0.1:$(port redis_exporter)"
}

# Also those of servers that are not watched any more.
monitoring_stop() {
  local process
  for process in "${EXPORTERS[@]}"; do stop_process "$process" TERM 10; done
  rm -f "$DATA"/prometheus-targets/{node,postgres,redis,cassandra}.json
}

# At each `up`, and at each `down` of a server that is watched.
monitoring_settle() {
  local databases=() nodes=()
  rm -f "$DATA"/prometheus-targets/{postgres,redis,cassandra}.json
  prometheus_target node "$(exporter_target node)"
  ! watched postgres || databases=("$(exporter_target postgres)")
  ! watched replica || databases+=("$(exporter_target replica)")
  ((${#databases[@]} == 0)) || prometheus_target postgres "${databases[@]}"
  ! watched redis || prometheus_target redis "$(exporter_target redis)"
  cassandra_has_agent || return 0
  mapfile -t nodes < <(seq -f "127.0.0.%g:$(port cassandra_exporter)" "$(cassandra_nodes)")
  prometheus_target cassandra "${nodes[@]}"
}
exporter_target() {
  if [[ $MODE == containers ]]; then
    case $1 in node) echo node-exporter:9100 ;; redis) echo redis-exporter:9121 ;; *) echo "$1-exporter:9187" ;; esac
  else
    echo "127.0.0.1:$(port "$1_exporter")"
  fi
}
