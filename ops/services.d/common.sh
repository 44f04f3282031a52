# shellcheck shell=bash
# Names, the data folder, generated secrets and remembered settings. Next: process.sh.

DEFAULTS=(postgres rabbitmq redis cassandra mail stripe prometheus)
# shellcheck disable=SC2034 # read by the other files
ALL=("${DEFAULTS[@]}" replica pgbouncer monitoring jaeger)
# Processes of this machine where the others are containers, too: tests then read one layout.
OWN=(mail stripe stripe-mock jaeger)
DATA=${ORDERWORKS_SERVICES_DIR:-$ROOT/.services}
[[ $DATA == /* ]] || DATA=$PWD/$DATA
PYTHON=python3
# The system's interpreter comes first: one under a home folder is out of reach for another user.
[[ -x /usr/bin/python3 ]] && PYTHON=/usr/bin/python3
MODE=''
# Longest wait for a server that is alive: three nodes of Cassandra start beside a build in more than two minutes.
# shellcheck disable=SC2034 # read by the other files
READY_SECONDS=300

say() { printf '%s\n' "$*" >&2; }
die() {
  say "services: $*"
  exit 1
}
contains() {
  local wanted=$1 item
  shift
  for item; do [[ $item == "$wanted" ]] && return 0; done
  return 1
}
# Whether a server (or process) is a container here.
in_container() { [[ $MODE == containers ]] && ! contains "$1" "${OWN[@]}"; }
defined() { declare -F "$1" >/dev/null; }
probe() { timeout 10 "$PYTHON" "$HERE/probe.py" "$@"; }

# Prints the value of KEY in the file $DATA/STORE, or nothing.
recall() {
  local line
  [[ -r $DATA/$1 ]] || return 0
  while IFS= read -r line; do
    [[ $line == "$2="* ]] && printf '%s\n' "${line#*=}"
  done <"$DATA/$1"
  return 0
}

# Sets KEY to VALUE in the file $DATA/STORE, which only its owner may read.
remember() {
  local store=$DATA/$1 key=$2 value=$3
  (
    umask 077
    touch "$store"
    { grep -v "^$key=" "$store" || true; printf '%s=%s\n' "$key" "$value"; } >"$store.new"
    mv -f "$store.new" "$store"
  )
}

port() { recall ports "$1"; }
secret() { recall secrets "$1"; }

make_secrets() {
  local name
  for name in postgres replicator exporter rabbitmq redis; do
    [[ -n $(secret "$name") ]] || remember secrets "$name" "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
  done
}

# As root every server runs as the user its package brings; otherwise all run as the caller.
service_user() {
  ((EUID == 0)) || {
    id -un
    return
  }
  case $1 in
    postgres | replica | pgbouncer) echo postgres ;;
    rabbitmq | redis | prometheus) echo "$1" ;;
    *) echo nobody ;;
  esac
}

# Sets WRAPPED to a command that runs "$@" as USER with a bare environment: no secret of the
# caller reaches a server, and no variable of the caller's changes how one starts.
wrap() {
  local user=$1
  shift
  WRAPPED=(env -i PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 "HOME=$DATA/tmp" "TMPDIR=$DATA/tmp" "$@")
  ((EUID != 0)) ||
    WRAPPED=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --inh-caps=-all "${WRAPPED[@]}")
}
as_user() {
  local WRAPPED
  wrap "$@"
  "${WRAPPED[@]}"
}

give_to() { ((EUID != 0)) || chown "$1:$(id -g "$1")" "$2"; }

# own_dir USER DIR: a folder that only USER (and root) can enter.
own_dir() {
  mkdir -p "$2"
  chmod 700 "$2"
  give_to "$1" "$2"
}

# put USER FILE: writes standard input to FILE, readable by USER alone, in one rename.
put() {
  (umask 077 && cat >"$2.new")
  give_to "$1" "$2.new"
  mv -f "$2.new" "$2"
}

prepare_folder() {
  mkdir -p "$DATA"
  [[ $(stat -c %u "$DATA") == "$EUID" ]] ||
    die "$DATA belongs to $(stat -c %U "$DATA"): run as that user or set ORDERWORKS_SERVICES_DIR"
  mkdir -p "$DATA"/{run,log,tmp,prometheus-targets}
  chmod 1777 "$DATA/tmp"
  exec 9>"$DATA/lock"
  flock -w 600 9 || die "another 'ops/services' holds $DATA/lock"
  choose_mode
}

# Root's servers run as other users: every folder above the data must let them through.
check_reachable() {
  local user
  user=$(service_user "$1")
  as_user "$user" test -x "$DATA" ||
    die "user $user cannot enter $DATA (a parent folder is private): set ORDERWORKS_SERVICES_DIR, e.g. /var/tmp/orderworks"
}

# Containers and packages keep their data in different places: a folder stays with its first choice.
choose_mode() {
  MODE=$(recall settings mode)
  local wanted=${ORDERWORKS_SERVICES_MODE:-$MODE}
  [[ -n $wanted ]] || { containers_available && wanted=containers || wanted=packages; }
  [[ $wanted == containers || $wanted == packages ]] || die "ORDERWORKS_SERVICES_MODE: containers or packages"
  [[ -z $MODE || $MODE == "$wanted" ]] || die "$DATA holds servers from $MODE: run down and remove it first"
  MODE=$wanted
  remember settings mode "$MODE"
}

expected() { recall settings expected; }
expect() { remember settings expected "$*"; }
