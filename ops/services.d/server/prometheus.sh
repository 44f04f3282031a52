# shellcheck shell=bash
# Prometheus with the alert rules of ops/prometheus, scraping itself and every target file in prometheus-targets/*.json,
# which it reads again every 5 s: RabbitMQ and the exporters write theirs there, the application and tests may add theirs.

prometheus_needs() { echo "/usr/bin/prometheus prometheus"; }
prometheus_ports() { echo "prometheus 9090 127.0.0.1"; }
prometheus_url() { echo "http://127.0.0.1:$(port prometheus)"; }
prometheus_env() { echo "ORDERWORKS_TEST_PROMETHEUS_URL=$(prometheus_url)"; }
prometheus_address() { echo "$(port prometheus) $(prometheus_url)"; }
prometheus_ready() { probe http "$(prometheus_url)/-/ready"; }

prometheus_start() {
  local user rules dir=$DATA/prometheus
  user=$(service_user prometheus)
  own_dir "$user" "$dir"
  # Read by this user: the checkout may be out of its reach.
  rm -rf "$dir/rules"
  own_dir "$user" "$dir/rules"
  for rules in "$ROOT"/ops/prometheus/rules/*.yml; do put "$user" "$dir/rules/${rules##*/}" <"$rules"; done
  prometheus_settings "127.0.0.1:$(port prometheus)" "$DATA/prometheus-targets" "$dir/rules" |
    put "$user" "$dir/prometheus.yml"
  launch prometheus "$user" /usr/bin/prometheus --config.file="$dir/prometheus.yml" \
    --storage.tsdb.path="$dir/data" --storage.tsdb.retention.time=1d --storage.tsdb.retention.size=256MB \
    --enable-feature=exemplar-storage --web.listen-address="127.0.0.1:$(port prometheus)"
}

# prometheus_settings SELF TARGETS-FOLDER RULES-FOLDER
prometheus_settings() {
  cat <<TEXT
global: {scrape_interval: 5s, scrape_timeout: 4s, evaluation_interval: 15s}
rule_files: ["$3/*.yml"]
scrape_configs:
  - {job_name: prometheus, static_configs: [{targets: ["$1"]}]}
  - job_name: orderworks
    file_sd_configs: [{files: ["$2/*.json"], refresh_interval: 5s}]
TEXT
}

# prometheus_target JOB ADDRESS…
prometheus_target() {
  local job=$1 file=$DATA/prometheus-targets/$1.json targets
  shift
  targets=$(printf ', "%s"' "$@")
  printf '[{"targets": [%s], "labels": {"job": "%s"}}]\n' "${targets#, }" "$job" >"$file.new"
  mv -f "$file.new" "$file"
}
