# shellcheck shell=bash
# Stand-ins for Stripe that others wrote. `localstripe` (PyPI) keeps payment intents and refunds and sends webhooks;
# `stripe-mock` (Stripe's own, a Go module) keeps nothing and checks requests against Stripe's OpenAPI document.
# The second is there only where a Go of its time is: Debian's is too old, and nothing else here needs one.

LOCALSTRIPE=localstripe==1.15.10
STRIPE_MOCK=v0.203.0

stripe_needs() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || echo "- python3-venv"; }
stripe_ports() {
  echo "stripe 8420 127.0.0.1"
  echo "stripe_mock 12111 127.0.0.1"
}
stripe_processes() {
  echo stripe
  [[ ! -x $DATA/stripe-mock/stripe-mock ]] || echo stripe-mock
}
stripe_env() {
  echo "ORDERWORKS_TEST_STRIPE_URL=http://127.0.0.1:$(port stripe)"
  [[ ! -x $DATA/stripe-mock/stripe-mock ]] || echo "ORDERWORKS_TEST_STRIPE_MOCK_URL=http://127.0.0.1:$(port stripe_mock)"
}
stripe_address() {
  local key=${1//-/_}
  echo "$(port "$key") http://127.0.0.1:$(port "$key")"
}
stripe_ready() {
  local process
  for process in $(stripe_processes); do stripe_answers "$process" || return 1; done
}
stripe_answers() { probe stripe "$(port "${1//-/_}")"; }

stripe_install() {
  local venv=$DATA/stripe-venv log=$DATA/log/install.log
  if [[ $(cat "$venv/complete" 2>/dev/null) != "$LOCALSTRIPE" ]]; then
    say "installing $LOCALSTRIPE"
    rm -rf "$venv"
    { "$PYTHON" -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check "$LOCALSTRIPE"; } >>"$log" 2>&1 ||
      die "pip cannot bring $LOCALSTRIPE: see $log"
    echo "$LOCALSTRIPE" >"$venv/complete"
  fi
  stripe_mock_install
}

stripe_mock_install() {
  local dir=$DATA/stripe-mock log=$DATA/log/install.log go
  [[ $(cat "$dir/complete" 2>/dev/null) != "$STRIPE_MOCK" ]] || return 0
  go=$(command -v go || true)
  [[ -n $go || ! -x /usr/local/go/bin/go ]] || go=/usr/local/go/bin/go
  if [[ -z $go ]]; then
    say "no Go here: stripe-mock is left out, and the tests of request shapes will say so"
    return 0
  fi
  say "building stripe-mock $STRIPE_MOCK"
  mkdir -p "$dir"
  if GOBIN=$dir GOFLAGS=-mod=mod "$go" install "github.com/stripe/stripe-mock@$STRIPE_MOCK" >>"$log" 2>&1; then
    echo "$STRIPE_MOCK" >"$dir/complete"
  else
    say "this Go cannot build stripe-mock (see $log): it is left out, and the tests of request shapes will say so"
  fi
}

stripe_start() {
  local user
  user=$(service_user stripe)
  if ! alive stripe; then
    # Read by this user: the checkout may be out of its reach.
    put "$user" "$DATA/stripe-venv/serve.py" <"$HERE/localstripe.py"
    launch stripe "$user" env PYTHONUNBUFFERED=1 "$DATA/stripe-venv/bin/python" "$DATA/stripe-venv/serve.py" "$(port stripe)"
  fi
  if [[ -x $DATA/stripe-mock/stripe-mock ]] && ! alive stripe-mock; then
    launch stripe-mock "$user" "$DATA/stripe-mock/stripe-mock" \
      -http-addr "127.0.0.1:$(port stripe_mock)" -https-addr 127.0.0.1:0
  fi
}
