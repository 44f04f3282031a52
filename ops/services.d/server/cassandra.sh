# shellcheck shell=bash
# Cassandra 5 from Maven Central: one node on 127.0.0.1, or a ring of three on 127.0.0.1-3.
# A ring grows from one to three and never shrinks: remove its folder for that.

CASSANDRA_VERSION=5.0.7

cassandra_nodes() { local n; n=$(recall settings cassandra_nodes) && echo "${n:-1}"; }
cassandra_processes() { seq -f 'cassandra-%g' "$(cassandra_nodes)"; }
# On all three addresses, so that a single node can grow into a ring on the same ports.
cassandra_ports() {
  echo "cassandra 9042 127.0.0.1,127.0.0.2,127.0.0.3"
  echo "cassandra_storage 7000 127.0.0.1,127.0.0.2,127.0.0.3"
  echo "cassandra_exporter 9404 127.0.0.1,127.0.0.2,127.0.0.3"
}
# One name per folder. Nodes keep the addresses of their peers, and a ring that starts on other ports than before may find
# another folder's node there: of one name, both would become one ring. Folders of before keep the name that they have.
cassandra_cluster() {
  if [[ -z $(recall settings cassandra_cluster) ]]; then
    if [[ -e $DATA/cassandra/node-1 ]]; then
      remember settings cassandra_cluster orderworks
    else
      remember settings cassandra_cluster "orderworks-$(printf '%s' "$DATA" | cksum | cut -d' ' -f1)"
    fi
  fi
  recall settings cassandra_cluster
}
cassandra_env() {
  local list
  list=$(seq -f "127.0.0.%g:$(port cassandra)" -s, "$(cassandra_nodes)")
  echo "ORDERWORKS_TEST_CASSANDRA_NODES=$list"
}
cassandra_address() { echo "$(port cassandra) 127.0.0.${1#cassandra-}:$(port cassandra)"; }

remember_cassandra_nodes() {
  [[ -n $CASSANDRA_NODES ]] || return 0
  [[ $CASSANDRA_NODES == 3 || ! -e $DATA/cassandra/node-2 ]] ||
    die "the ring has three members: down, then remove $DATA/cassandra, to start with one again"
  remember settings cassandra_nodes "$CASSANDRA_NODES"
}

# Together: each drains and says goodbye for some seconds.
cassandra_stop() {
  local process pids=() pid failed=0
  for process in $(cassandra_processes); do
    stop_process "$process" TERM 30 &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return "$failed"
}

java_17() {
  local java
  for java in /usr/lib/jvm/java-17-*/bin/java /usr/bin/java; do
    if [[ -x $java ]] && "$java" -version 2>&1 | grep -q '"17\.'; then
      echo "$java"
      return
    fi
  done
  return 1
}

cassandra_needs() {
  java_17 >/dev/null || echo "- openjdk-17-jre-headless"
  cassandra_complete || command -v mvn >/dev/null || echo "- maven"
}

cassandra_complete() { [[ $(cat "$DATA/cassandra-lib/complete" 2>/dev/null) == "$CASSANDRA_VERSION" ]]; }

cassandra_install() {
  local lib=$DATA/cassandra-lib log=$DATA/log/install.log
  ! cassandra_complete || return 0
  say "fetching Cassandra $CASSANDRA_VERSION"
  rm -rf "$lib"
  mvn -q -B -f "$HERE/cassandra/pom.xml" "-Dcassandra.version=$CASSANDRA_VERSION" \
    dependency:copy-dependencies "-DoutputDirectory=$lib" >>"$log" 2>&1 ||
    die "Maven Central cannot bring Cassandra $CASSANDRA_VERSION: see $log"
  echo "$CASSANDRA_VERSION" >"$lib/complete"
}

cassandra_ready() {
  local node nodes
  nodes=$(cassandra_nodes)
  for ((node = 1; node <= nodes; node++)); do
    cassandra_node_ready "$node" "$((nodes - 1))" || return 1
  done
}
cassandra_answers() { cassandra_node_ready "${1#cassandra-}" "$(($(cassandra_nodes) - 1))"; }
cassandra_node_ready() { probe cassandra "127.0.0.$1" "$(port cassandra)" "$2"; }

# A member that was killed while schemas changed may stay apart from the others for good (seen once with 5.0.7), though
# they ask each other once a minute: it is restarted. Else each later change of a schema would wait for it in vain.
cassandra_agree() {
  local node usual deadline=$((SECONDS + 70))
  until cassandra_ready >/dev/null 2>&1; do
    ((SECONDS < deadline)) || break
    sleep 0.3
  done
  ! cassandra_ready >/dev/null 2>&1 || return 0
  usual=$(for ((node = 1; node <= $1; node++)); do cassandra_schema "$node"; done |
    sort | uniq -c | sort -rn | awk 'NR == 1 { print $2 }')
  for ((node = 1; node <= $1; node++)); do
    [[ $(cassandra_schema "$node") != "$usual" ]] || continue
    say "cassandra: node $node has not the schema of the others: restarting it"
    stop_process "cassandra-$node" TERM 30
    cassandra_launch "$node" "$1"
    cassandra_wait "$node" $(($1 - 1))
  done
}
cassandra_schema() { probe cassandra_schema "127.0.0.$1" "$(port cassandra)" || echo "none of node $1"; }

# Members of the ring start together; newcomers join one after the other, as Cassandra demands.
cassandra_start() {
  local node nodes
  nodes=$(cassandra_nodes)
  for ((node = 1; node <= nodes; node++)); do
    alive "cassandra-$node" || [[ ! -e $DATA/cassandra/node-$node/joined ]] || cassandra_launch "$node" "$nodes"
  done
  for ((node = 1; node <= nodes; node++)); do
    [[ ! -e $DATA/cassandra/node-$node/joined ]] || continue
    ((node == 1)) || cassandra_wait $((node - 1)) $((node - 2))
    alive "cassandra-$node" || cassandra_launch "$node" "$nodes"
    cassandra_wait "$node" $((node - 1))
    touch "$DATA/cassandra/node-$node/joined"
  done
  ((nodes == 1)) || cassandra_agree "$nodes"
}

cassandra_wait() {
  local deadline=$((SECONDS + READY_SECONDS))
  until cassandra_node_ready "$1" "$2" >/dev/null 2>&1; do
    alive "cassandra-$1" || give_up cassandra "node $1 stopped while starting"
    ((SECONDS < deadline)) || give_up cassandra "node $1 not ready in time"
    sleep 0.3
  done
}

cassandra_launch() {
  local node=$1 user cluster agent=() dir=$DATA/cassandra/node-$1 ring_delay_ms=100
  # A newcomer waits this long before it joins; a member that restarts gives up when no peer gossips for so long.
  (($2 == 1)) || ring_delay_ms=2000
  [[ ! -e $dir/joined ]] || ring_delay_ms=30000
  user=$(service_user cassandra)
  cluster=$(cassandra_cluster)
  mkdir -p "$DATA/cassandra"
  own_dir "$user" "$dir"
  sed -e "s#@CLUSTER@#$cluster#" -e "s#@DIR@#$dir#" -e "s#@ADDRESS@#127.0.0.$node#" -e "s#@PORT@#$(port cassandra)#" \
    -e "s#@STORAGE_PORT@#$(port cassandra_storage)#" "$HERE/cassandra/cassandra.yaml" | put "$user" "$dir/cassandra.yaml"
  put "$user" "$dir/logback.xml" <"$HERE/cassandra/logback.xml"
  put "$user" "$dir/jvm.options" <"$HERE/cassandra/jvm.options"
  put "$user" "$dir/metrics.yaml" <"$HERE/cassandra/metrics.yaml"
  mapfile -t agent < <(cassandra_agent "$node" "$dir")
  launch "cassandra-$node" "$user" "$(java_17)" "@$dir/jvm.options" "${agent[@]}" "-Djava.io.tmpdir=$DATA/tmp" \
    "-Dcassandra.config=file://$dir/cassandra.yaml" "-Dlogback.configurationFile=file://$dir/logback.xml" \
    "-Dcassandra.storagedir=$dir" -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra-foreground=yes \
    "-Dcassandra.ring_delay_ms=$ring_delay_ms" -cp "$DATA/cassandra-lib/*" \
    org.apache.cassandra.service.CassandraDaemon
}
