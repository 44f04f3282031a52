# shellcheck shell=bash
# Prometheus, scraping itself and every target file in prometheus-targets/*.json, which it reads anew
# every 5 s: RabbitMQ writes one there at its start, the application and tests may add theirs.

prometheus_needs() { echo "/usr/bin/prometheus prometheus"; }
prometheus_ports() { echo "prometheus 9090 127.0.0.1"; }
prometheus_url() { echo "http://127.0.0.1:$(port prometheus)"; }
prometheus_env() { echo "ORDERWORKS_TEST_PROMETHEUS_URL=$(prometheus_url)"; }
prometheus_address() { echo "$(port prometheus) $(prometheus_url)"; }
prometheus_ready() { probe http "$(prometheus_url)/-/ready"; }

prometheus_start() {
  local user dir=$DATA/prometheus
  user=$(service_user prometheus)
  own_dir "$user" "$dir"
  prometheus_settings "127.0.0.1:$(port prometheus)" "$DATA/prometheus-targets" |
    put "$user" "$dir/prometheus.yml"
  launch prometheus "$user" /usr/bin/prometheus --config.file="$dir/prometheus.yml" \
    --storage.tsdb.path="$dir/data" --storage.tsdb.retention.time=1d --storage.tsdb.retention.size=256MB \
    --web.listen-address="127.0.0.1:$(port prometheus)"
}

# prometheus_settings SELF TARGETS-FOLDER
prometheus_settings() {
  cat <<TEXT
global: {scrape_interval: 5s, scrape_timeout: 4s}
scrape_configs:
  - {job_name: prometheus, static_configs: [{targets: ["$1"]}]}
  - job_name: orderworks
    file_sd_configs: [{files: ["$2/*.json"], refresh_interval: 5s}]
TEXT
}

# prometheus_target JOB ADDRESS
prometheus_target() {
  local file=$DATA/prometheus-targets/$1.json
  printf '[{"targets": ["%s"], "labels": {"job": "%s"}}]\n' "$2" "$1" >"$file.new"
  mv -f "$file.new" "$file"
}
