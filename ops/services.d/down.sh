# shellcheck shell=bash
# `down`: orderly stop with a bounded wait, then by pid. Touches only what has a pid file of ours.

down_command() {
  local wanted=() name pids=() pid rest=() failed=0
  [[ -d $DATA ]] || return 0
  prepare_folder
  read -ra wanted < <(ordered "${NAMES[*]:-${ALL[*]}} ${EXTRAS[*]}")
  # Readers of PostgreSQL go first: a primary waits for its replica.
  for name in monitoring pgbouncer replica; do
    if contains "$name" "${wanted[@]}"; then stop_one "$name"; fi
  done
  for name in "${wanted[@]}"; do
    case $name in replica | pgbouncer | monitoring) continue ;; esac
    (stop_one "$name") &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  for name in $(expected); do
    contains "$name" "${wanted[@]}" || rest+=("$name")
  done
  expect "${rest[*]}"
  if contains monitoring "${rest[@]}"; then unset wanted && monitoring_settle; fi
  if ((${#rest[@]})); then write_env; else rm -f "$DATA/env"; fi
  ((failed == 0)) || die "something could not be stopped"
}

stop_one() {
  local process
  if in_container "$1"; then
    container_stop "$1"
  elif defined "$1_stop"; then
    "$1_stop"
  else
    for process in $(processes "$1"); do stop_process "$process" TERM 20; done
  fi
}
