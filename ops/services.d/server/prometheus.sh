# shellcheck shell=bash
# Prometheus, scraping itself, RabbitMQ, and every target file put into prometheus-targets/*.json.

prometheus_needs() { echo "/usr/bin/prometheus prometheus"; }
prometheus_ports() { echo "prometheus 9090 127.0.0.1"; }
prometheus_url() { echo "http://127.0.0.1:$(port prometheus)"; }
prometheus_env() { echo "ORDERWORKS_TEST_PROMETHEUS_URL=$(prometheus_url)"; }
prometheus_address() { echo "$(port prometheus) $(prometheus_url)"; }
prometheus_ready() { probe http "$(prometheus_url)/-/ready"; }

prometheus_start() {
  local user dir=$DATA/prometheus rabbit
  user=$(service_user prometheus)
  own_dir "$user" "$dir"
  mkdir -p "$DATA/prometheus-targets"
  rabbit=$(port rabbitmq_prometheus)
  prometheus_settings "127.0.0.1:$(port prometheus)" "127.0.0.1:${rabbit:-15692}" "$DATA/prometheus-targets" |
    put "$user" "$dir/prometheus.yml"
  launch prometheus "$user" /usr/bin/prometheus --config.file="$dir/prometheus.yml" \
    --storage.tsdb.path="$dir/data" --storage.tsdb.retention.time=1d --storage.tsdb.retention.size=256MB \
    --web.listen-address="127.0.0.1:$(port prometheus)"
}

# prometheus_settings SELF RABBITMQ TARGETS-FOLDER
prometheus_settings() {
  cat <<TEXT
global: {scrape_interval: 5s, scrape_timeout: 4s}
scrape_configs:
  - {job_name: prometheus, static_configs: [{targets: ["$1"]}]}
  - {job_name: rabbitmq, static_configs: [{targets: ["$2"]}]}
  - job_name: orderworks
    file_sd_configs: [{files: ["$3/*.json"], refresh_interval: 5s}]
TEXT
}
