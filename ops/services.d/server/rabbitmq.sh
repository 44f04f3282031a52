# shellcheck shell=bash
# RabbitMQ with the management and Prometheus plugins, an own node name and an own epmd on its own
# port: the machine's epmd is neither used nor stopped. No account `guest`.

RABBIT_SERVER=/usr/lib/rabbitmq/bin/rabbitmq-server

rabbitmq_needs() {
  echo "$RABBIT_SERVER rabbitmq-server"
  echo "/usr/bin/epmd erlang-base"
  echo "/usr/bin/openssl openssl"
}
rabbitmq_ports() {
  local key usual
  while read -r key usual; do echo "$key $usual 127.0.0.1"; done <<'TEXT'
rabbitmq 5672
rabbitmq_tls 5671
rabbitmq_management 15672
rabbitmq_prometheus 15692
rabbitmq_dist 25672
rabbitmq_epmd 14369
TEXT
}
rabbitmq_processes() { [[ $MODE == containers ]] && echo rabbitmq || echo rabbitmq epmd; }
rabbitmq_ready() { PROBE_PASSWORD=$(secret rabbitmq) probe rabbitmq "$(port rabbitmq_management)"; }
rabbitmq_answers() { [[ $1 == epmd ]] || rabbitmq_ready; }
rabbitmq_settle() { PROBE_PASSWORD=$(secret rabbitmq) probe rabbitmq_settle "$(port rabbitmq_management)"; }
rabbitmq_url() { echo "$1://orderworks:$(secret rabbitmq)@127.0.0.1:$2"; }
rabbitmq_env() {
  echo "ORDERWORKS_TEST_RABBITMQ_URL=$(rabbitmq_url amqp "$(port rabbitmq)")/%2f"
  echo "ORDERWORKS_TEST_RABBITMQ_MANAGEMENT_URL=$(rabbitmq_url http "$(port rabbitmq_management)")"
  # Containers serve no TLS.
  [[ $MODE == containers || -z $(port rabbitmq_tls) ]] || {
    echo "ORDERWORKS_TEST_RABBITMQ_TLS_URL=$(rabbitmq_url amqps "$(port rabbitmq_tls)")/%2f"
    echo "ORDERWORKS_TEST_CA_FILE=$DATA/tls/ca.pem"
  }
  echo "ORDERWORKS_TEST_RABBITMQCTL=$(rabbitmq_ctl)"
}
# A command that tests put `eval`, `stop_app` and the like behind.
rabbitmq_ctl() {
  if [[ $MODE == containers ]]; then
    echo "docker exec $(compose ps -q rabbitmq) rabbitmqctl -q"
  else
    echo "env HOME=$DATA/rabbitmq ERL_EPMD_PORT=$(port rabbitmq_epmd) /usr/lib/rabbitmq/bin/rabbitmqctl -q -n orderworks@localhost"
  fi
}
rabbitmq_address() {
  case $1 in
    epmd) echo "$(port rabbitmq_epmd) -" ;;
    *) echo "$(port rabbitmq) $(rabbitmq_url amqp "$(port rabbitmq)")/%2f" ;;
  esac
}
rabbitmq_stop() {
  stop_process rabbitmq TERM 30
  stop_process epmd TERM 5
}

# A lone epmd would keep the ports from being chosen again, and a dead node's name registered.
rabbitmq_before() { [[ $MODE == containers ]] || alive rabbitmq || stop_process epmd TERM 5; }

rabbitmq_start() {
  local user dir=$DATA/rabbitmq
  user=$(service_user rabbitmq)
  own_dir "$user" "$dir"
  alive epmd || launch epmd "$user" /usr/bin/epmd -address 127.0.0.1 -port "$(port rabbitmq_epmd)"
  ! alive rabbitmq || return 0
  rabbitmq_settings "$user" "$dir"
  prometheus_target rabbitmq "127.0.0.1:$(port rabbitmq_prometheus)"
  # RUNNING_UNDER_SYSTEMD: the script becomes the server, instead of a shell that waits for it and
  # whose death by SIGKILL would leave the server behind.
  launch rabbitmq "$user" env HOME="$dir" RUNNING_UNDER_SYSTEMD=true \
    ERL_EPMD_PORT="$(port rabbitmq_epmd)" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_NODENAME=orderworks@localhost RABBITMQ_DIST_PORT="$(port rabbitmq_dist)" \
    RABBITMQ_CONF_ENV_FILE="$dir/no-env.conf" RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
    RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
    RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_PID_FILE="$dir/pid" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none' \
    "$RABBIT_SERVER"
}

# The first start creates this administrator in place of guest.
rabbitmq_settings() {
  give_certificate "$1" "$2"
  echo '[rabbitmq_management,rabbitmq_prometheus].' | put "$1" "$2/enabled_plugins"
  put "$1" "$2/advanced.config" <"$ROOT/compose/rabbitmq-advanced.config"
  put "$1" "$2/no-env.conf" </dev/null
  put "$1" "$2/rabbitmq.conf" <<TEXT
listeners.tcp.1 = 127.0.0.1:$(port rabbitmq)
listeners.ssl.1 = 127.0.0.1:$(port rabbitmq_tls)
ssl_options.cacertfile = $DATA/tls/ca.pem
ssl_options.certfile = $2/server.pem
ssl_options.keyfile = $2/server.key
management.tcp.ip = 127.0.0.1
management.tcp.port = $(port rabbitmq_management)
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = $(port rabbitmq_prometheus)
default_user = orderworks
default_pass = $(secret rabbitmq)
default_user_tags.administrator = true
$(rabbitmq_common)
TEXT
}

# Also for the container. consumer_timeout stays at its default of 30 minutes, as in production. Quorum queues keep what
# their log holds in memory, too: at its default of 512 MB a million messages raise the alarm of a small node.
rabbitmq_common() {
  cat <<TEXT
disk_free_limit.absolute = 1GB
vm_memory_high_watermark.absolute = 1GB
raft.wal_max_size_bytes = 67108864
log.console = true
log.console.level = info
log.file = false
TEXT
}
