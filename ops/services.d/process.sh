# shellcheck shell=bash
# Processes this script started: a pid file holds pid, start time and boot id, so that a recycled
# pid is neither reported nor killed. Signals go to single pids, never to names or groups.

BOOT_ID=$(</proc/sys/kernel/random/boot_id)

# Prints the kernel's start time of PID in clock ticks; fails for a dead process, and for a zombie
# unless threads of it are still ending: until then it may hold its ports.
start_time() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The command name may hold blanks and brackets: fields are counted from behind it.
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z || ${fields[17]} -gt 1 ]] && printf '%s\n' "${fields[19]}"
}

# Prints the pid of PROCESS if it is alive and is the one this script started.
pid_of() {
  local pid started boot
  read -r pid started boot 2>/dev/null <"$DATA/run/$1.pid" || return 1
  [[ $boot == "$BOOT_ID" && $(start_time "$pid") == "$started" ]] && printf '%s\n' "$pid"
}

alive() {
  if in_container "$1"; then container_running "$1"; else pid_of "$1" >/dev/null; fi
}

rotate() {
  [[ ! -f $1 || $(stat -c %s "$1") -lt 10485760 ]] || mv -f "$1" "$1.1"
}

# launch PROCESS USER COMMAND…: starts a server in its own session, output to log/PROCESS.log.
launch() {
  local process=$1 log=$DATA/log/$1.log pid WRAPPED
  shift
  rotate "$log"
  wrap "$@"
  # Descriptor 9 is the lock: a server that kept it would hold the lock for its whole life.
  (exec setsid "${WRAPPED[@]}") >>"$log" 2>&1 </dev/null 9>&- &
  pid=$!
  printf '%s %s %s\n' "$pid" "$(start_time "$pid")" "$BOOT_ID" >"$DATA/run/$process.pid"
}

# Prints "pid start-time" of every descendant of PID.
descendants() {
  local pid
  ps -e -o pid=,ppid= | awk -v root="$1" '
    { parent[$1] = $2 }
    END { for (p in parent) for (q = parent[p]; q > 1; q = parent[q]) if (q == root) { print p; break } }' |
    while read -r pid; do printf '%s %s\n' "$pid" "$(start_time "$pid" || true)"; done
}

# gone_within SECONDS PID START: waits for that very process to end.
gone_within() {
  local deadline=$((SECONDS + $1))
  while [[ $(start_time "$2") == "$3" ]]; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# end_process PID START SIGNAL SECONDS: orderly first, then SIGKILL.
end_process() {
  [[ $(start_time "$1") == "$2" ]] || return 0
  kill "-$3" "$1" 2>/dev/null || true
  gone_within "$4" "$1" "$2" && return 0
  say "pid $1 ignored SIG$3 for $4 s: killing it"
  kill -KILL "$1" 2>/dev/null || true
  gone_within 10 "$1" "$2"
}

# stop_process PROCESS SIGNAL SECONDS
stop_process() {
  local pid file=$DATA/run/$1.pid family child started
  if pid=$(pid_of "$1"); then
    family=$(descendants "$pid")
    end_process "$pid" "$(start_time "$pid")" "$2" "$3" || die "$1 (pid $pid) cannot be stopped"
    while read -r child started; do
      [[ -z $started ]] || gone_within 5 "$child" "$started" || end_process "$child" "$started" KILL 5
    done <<<"$family"
  fi
  rm -f "$file"
}
