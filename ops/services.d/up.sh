# shellcheck shell=bash
# `up`: install, choose ports, start in parallel, wait until each answers by its own protocol.
# Server files (server/*.sh) give for each NAME:
#   NAME_ports         lines "key usual addresses"
#   NAME_start         start the processes of NAME that are not alive (packages mode)
#   NAME_ready         one attempt; 0 when truly ready
#   NAME_env           lines "VARIABLE=value" for tests
#   NAME_address P     "port url" of process P, for `status`
# and where they apply NAME_needs, NAME_install, NAME_processes, NAME_stop, NAME_settle, NAME_before,
# NAME_answers P (process P alone).

up_command() {
  local wanted first=() second=() name primary
  prepare_folder
  wanted=$(wanted_names)
  for name in $wanted; do
    case $name in replica | pgbouncer | monitoring) second+=("$name") ;; *) first+=("$name") ;; esac
  done
  make_secrets
  remember_cassandra_nodes
  bring_programs "${first[@]}" "${second[@]}"
  # Expected from here on: what fails to start below is then reported by `status`.
  expect "$(ordered "$(expected) $wanted")"
  before "${first[@]}" "${second[@]}"
  renew_cassandra
  primary=$(port postgres)
  claim "${first[@]}" "${second[@]}"
  [[ $(port postgres) == "$primary" ]] || follow_primary
  write_env
  up_wave "${first[@]}"
  ((${#second[@]} == 0)) || up_wave "${second[@]}"
  print_urls
}

# PostgreSQL moves to another port: what connects to it is restarted. Adds to `second`.
follow_primary() {
  local name
  [[ $MODE == packages ]] || return 0
  for name in replica pgbouncer monitoring; do
    any_alive "$name" || continue
    stop_one "$name"
    contains "$name" "${second[@]}" || second+=("$name")
  done
}

# Without names: the defaults and whatever an earlier `up` started and no `down` has stopped.
wanted_names() {
  local names=("${NAMES[@]}" "${EXTRAS[@]}")
  if ((${#NAMES[@]} == 0)); then read -ra names <<<"${DEFAULTS[*]} ${EXTRAS[*]} $(expected)"; fi
  if contains replica "${names[@]}" || contains pgbouncer "${names[@]}"; then names+=(postgres); fi
  # Whatever comes later is watched, too.
  if [[ " ${names[*]} $(expected) " == *' monitoring '* ]]; then names+=(monitoring prometheus); fi
  ordered "${names[*]}"
}

# Prints the names of a list once each, in the order of ALL.
ordered() {
  local name list=() given
  read -ra given <<<"$1"
  for name in "${ALL[@]}"; do
    if contains "$name" "${given[@]}"; then list+=("$name"); fi
  done
  echo "${list[*]}"
}

bring_programs() {
  local name
  if [[ $MODE == containers ]]; then
    local own=()
    for name; do in_container "$name" || own+=("$name"); done
    set -- "${own[@]}"
  fi
  install_for "$@"
  for name; do check_reachable "$name"; done
}

before() {
  local name
  for name; do
    if defined "${name}_before"; then "${name}_before"; fi
  done
}

processes() { if defined "$1_processes"; then "$1_processes"; else echo "$1"; fi; }

any_alive() {
  local process
  for process in $(processes "$1"); do
    if alive "$process"; then return 0; fi
  done
  return 1
}
all_alive() {
  local process
  for process in $(processes "$1"); do alive "$process" || return 1; done
}

up_wave() {
  local name pids=() pid failed=0
  if [[ $MODE == containers ]]; then containers_up "$@"; fi
  for name; do
    (up_one "$name") &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  ((failed == 0)) || die "not everything is up; see 'ops/services status' and 'ops/services logs'"
}

up_one() {
  local name=$1 began=$SECONDS word=already
  if ! all_alive "$name"; then
    word=started
    "${name}_start"
  fi
  wait_ready "$name"
  say "$(printf '%-10s ready (%s, %s s)' "$name" "$word" "$((SECONDS - began))")"
}

wait_ready() {
  local name=$1 deadline=$((SECONDS + READY_SECONDS)) settled='' reason
  until reason=$("${name}_ready" 2>&1); do
    if [[ -z $settled ]] && defined "${name}_settle" && "${name}_settle" 2>/dev/null; then settled=1; fi
    all_alive "$name" || give_up "$name" "stopped while starting"
    ((SECONDS < deadline)) || give_up "$name" "not ready in time: $reason"
    sleep 0.5
  done
  [[ -n $settled ]] || ! defined "${name}_settle" || "${name}_settle"
}

give_up() {
  local process
  say "$1: $2"
  [[ $MODE == containers ]] || for process in $(processes "$1"); do
    tail -n 15 "$DATA/log/$process.log" >&2 || true
  done
  exit 1
}

# The variables of every expected server, for `. .services/env`; no other user may read them.
write_env() {
  local name line
  {
    echo "# Written by ops/services; the values change with ports and passwords."
    for name in $(expected); do
      "${name}_env" | while IFS= read -r line; do printf "export %s='%s'\n" "${line%%=*}" "${line#*=}"; done
    done
  } | put "$(id -un)" "$DATA/env"
}

hide_password() { sed -E 's#(://[^:@/]*):[^@/]*@#\1:***@#'; }

print_urls() {
  sed -n "s/^export \([A-Z_]*\)='\(.*\)'$/\1 \2/p" "$DATA/env" | hide_password |
    while read -r variable value; do printf '%-38s %s\n' "$variable" "$value"; done
  echo "with passwords: . $DATA/env"
}
