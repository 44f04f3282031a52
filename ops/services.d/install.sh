# shellcheck shell=bash
# Brings missing programs: Debian packages by apt-get (root or sudo), jars from Maven Central, mail sink and Stripe's
# stand-ins from PyPI and Go's modules (see their server files). Never starts the distribution's own services.

# install_for NAME…: a server's NAME_needs prints "program package" lines.
install_for() {
  local name program package missing=()
  for name; do
    defined "${name}_needs" || continue
    while read -r program package; do
      [[ -x $program ]] || contains "$package" "${missing[@]}" || missing+=("$package")
    done < <("${name}_needs")
  done
  ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
  for name; do
    if defined "${name}_install"; then "${name}_install"; fi
  done
}

# install_packages PACKAGE…: what is no server's need, such as a tool of one test.
install_packages() {
  local package missing=()
  for package; do
    [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *' installed' ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

apt_install() {
  local log=$DATA/log/install.log root=()
  command -v apt-get >/dev/null ||
    die "missing $* and no apt-get here: start a Docker engine or install them by hand"
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "missing $*: run once as root or install sudo"
    root=(sudo)
  fi
  say "installing $*"
  (
    trap 'allow_autostart "${root[@]}"' EXIT
    forbid_autostart "${root[@]}"
    apt_get "$log" "${root[@]}" -- "$@" ||
      { "${root[@]}" apt-get update -qq >>"$log" 2>&1 && apt_get "$log" "${root[@]}" -- "$@"; }
  ) || die "apt-get cannot bring $*: see $log"
}

apt_get() {
  local log=$1 root=()
  shift
  while [[ $1 != -- ]]; do
    root+=("$1")
    shift
  done
  shift
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
}

# Packages start their service at install unless a policy file says no; ours is there meanwhile only.
POLICY=/usr/sbin/policy-rc.d
forbid_autostart() {
  [[ ! -e $POLICY ]] || return 0
  printf '#!/bin/sh\n# ops/services\nexit 101\n' | "$@" install -m 755 /dev/stdin "$POLICY"
}
allow_autostart() {
  ! grep -q '^# ops/services$' "$POLICY" 2>/dev/null || "$@" rm -f "$POLICY"
}
