# shellcheck shell=bash
# `status` and `logs`: read only. `status` fails when an expected server is down or does not answer.

status_command() {
  local name failed=0 wanted
  MODE=$(recall settings mode)
  printf '%-18s %-10s %-8s %-6s %s\n' NAME STATE PID PORT URL
  wanted=$(ordered "${NAMES[*]:-$(expected)} ${EXTRAS[*]}")
  for name in $wanted; do
    status_one "$name" || failed=1
  done
  return "$failed"
}

status_one() {
  local process state number url failed=0
  for process in $(processes "$1"); do
    state=ready
    if ! alive "$process"; then
      state=down
    elif ! answers "$1" "$process" >/dev/null 2>&1; then
      state='no answer'
    fi
    [[ $state == ready ]] || failed=1
    read -r number url < <("$1_address" "$process" | hide_password)
    printf '%-18s %-10s %-8s %-6s %s\n' "$process" "$state" "$(pid_of "$process" || echo -)" "${number:--}" "$url"
  done
  return "$failed"
}

# One process of a server may answer while another does not.
answers() { if defined "$1_answers"; then "$1_answers" "$2"; else "$1_ready"; fi; }

logs_command() {
  local name process containers files=() tail=(tail -n 100)
  MODE=$(recall settings mode)
  [[ -z $FOLLOW ]] || tail+=(-F)
  for name in $(ordered "${NAMES[*]:-$(expected)} ${EXTRAS[*]}"); do
    if in_container "$name"; then
      mapfile -t containers < <(containers_of "$name")
      compose logs --tail 100 ${FOLLOW:+--follow} "${containers[@]}"
      continue
    fi
    for process in $(processes "$name"); do files+=("$DATA/log/$process.log"); done
  done
  ((${#files[@]} == 0)) || "${tail[@]}" "${files[@]}"
}
