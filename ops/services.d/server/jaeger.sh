# shellcheck shell=bash
# Jaeger, which keeps traces in memory: takes them over OTLP (HTTP), and shows them by its query API. Not by default: it
# is built with Go, which takes minutes and 2 GB of memory. The page at its address is a placeholder; the JSON is whole.

JAEGER=v1.76.0

jaeger_ports() {
  echo "jaeger 16686 127.0.0.1"
  echo "jaeger_grpc 16685 127.0.0.1"
  echo "jaeger_otlp 4318 127.0.0.1"
}
jaeger_url() { echo "http://127.0.0.1:$(port jaeger)"; }
jaeger_env() {
  echo "ORDERWORKS_TEST_JAEGER_URL=$(jaeger_url)"
  echo "ORDERWORKS_TEST_OTLP_URL=http://127.0.0.1:$(port jaeger_otlp)"
}
jaeger_address() { echo "$(port jaeger) $(jaeger_url)"; }
jaeger_ready() { probe http "$(jaeger_url)/api/services"; }

# In a module of its own: the module of the program replaces others, which `go install` does not take.
jaeger_install() {
  local dir=$DATA/jaeger-program log=$DATA/log/install.log go
  [[ $(cat "$dir/complete" 2>/dev/null) != "$JAEGER" ]] || return 0
  go=$(command -v go || true)
  [[ -n $go || ! -x /usr/local/go/bin/go ]] || go=/usr/local/go/bin/go
  [[ -n $go ]] || die "jaeger needs a Go of its time, and none is here"
  say "building jaeger $JAEGER, which takes minutes"
  rm -rf "$dir"
  mkdir -p "$dir"
  (
    cd "$dir"
    "$go" mod init orderworks.test/jaeger
    "$go" get -tool "github.com/jaegertracing/jaeger/cmd/jaeger@$JAEGER"
    "$go" build -ldflags='-s -w' -o jaeger github.com/jaegertracing/jaeger/cmd/jaeger
  ) >>"$log" 2>&1 || die "this Go cannot build jaeger: see $log"
  echo "$JAEGER" >"$dir/complete"
}

jaeger_start() {
  local user dir=$DATA/jaeger
  user=$(service_user jaeger)
  own_dir "$user" "$dir"
  jaeger_settings | put "$user" "$dir/jaeger.yml"
  launch jaeger "$user" "$DATA/jaeger-program/jaeger" --config="$dir/jaeger.yml"
}

jaeger_settings() {
  cat <<TEXT
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines: {traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry: {metrics: {level: none}}
extensions:
  jaeger_storage: {backends: {memory: {memory: {max_traces: 10000}}}}
  jaeger_query:
    storage: {traces: memory}
    http: {endpoint: "127.0.0.1:$(port jaeger)"}
    grpc: {endpoint: "127.0.0.1:$(port jaeger_grpc)"}
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:$(port jaeger_otlp)"}}}
exporters:
  jaeger_storage_exporter: {trace_storage: memory}
TEXT
}
