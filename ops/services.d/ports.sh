# shellcheck shell=bash
# Ports: the usual one, or the next free one where it is taken; remembered in $DATA/ports.

# claim NAME…: chooses and remembers the ports of servers that are not running.
# A server's NAME_ports prints lines "key usual addresses".
claim() {
  local name wishes=() key usual hosts choice choices
  for name; do
    any_alive "$name" && continue
    while read -r key usual hosts; do
      wishes+=("$key=$usual=$(port "$key")=$hosts")
    done < <("${name}_ports")
  done
  ((${#wishes[@]})) || return 0
  choices=$(probe claim "$(kept_ports "${wishes[@]}" | paste -sd, -)" "${wishes[@]}")
  for choice in $choices; do
    key=${choice%%=*}
    [[ $(port "$key") == "${choice#*=}" ]] || remember ports "$key" "${choice#*=}"
  done
}

# Prints the remembered ports of every other server, which a new choice must avoid.
kept_ports() {
  local line wish
  [[ -r $DATA/ports ]] || return 0
  while IFS= read -r line; do
    for wish; do [[ $wish == "${line%%=*}="* ]] && continue 2; done
    printf '%s\n' "${line#*=}"
  done <"$DATA/ports"
}
