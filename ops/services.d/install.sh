# shellcheck shell=bash
# Brings missing programs: Debian packages by apt-get (root or sudo), jars from Maven Central, mail sink and Stripe's
# stand-ins from PyPI and Go's modules (see their server files), axe-core from npm, vegeta from Go's modules. Never starts
# the distribution's own services.

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

# The rules by which tests check pages for accessibility. MPL-2.0: a tool of tests, no part of the product.
AXE=4.14.1
AXE_SHA256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745

# The load generator of `ops/bench`. MIT.
VEGETA=v12.13.0

# install_packages PACKAGE…: what is no server's need, such as a tool of one test. All but axe-core and vegeta are
# Debian's.
install_packages() {
  local package missing=()
  for package; do
    case $package in
      axe-core | vegeta)
        "install_${package%-core}"
        continue
        ;;
    esac
    [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *' installed' ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

# Leaves $DATA/axe-core/axe.min.js and the licence.
install_axe() {
  local folder=$DATA/axe-core log=$DATA/log/install.log archive=axe-core-$AXE.tgz
  [[ $(cat "$folder/complete" 2>/dev/null) != "$AXE" ]] || return 0
  command -v npm >/dev/null || die "missing npm, by which axe-core comes: install Node.js with npm"
  say "installing axe-core $AXE"
  rm -rf "$folder"
  mkdir -p "$folder"
  (cd "$folder" && npm pack --silent "axe-core@$AXE") >>"$log" 2>&1 || die "npm cannot bring axe-core $AXE: see $log"
  echo "$AXE_SHA256  $folder/$archive" | sha256sum --check --quiet - >>"$log" 2>&1 ||
    die "axe-core $AXE is not what it was: see $log"
  tar -xzf "$folder/$archive" -C "$folder" --strip-components 1 package/axe.min.js package/LICENSE
  rm "$folder/$archive"
  echo "$AXE" >"$folder/complete"
}

# Leaves $DATA/vegeta/vegeta.
install_vegeta() {
  local folder=$DATA/vegeta log=$DATA/log/install.log go
  [[ $(cat "$folder/complete" 2>/dev/null) != "$VEGETA" ]] || return 0
  go=$(command -v go || true)
  [[ -n $go || ! -x /usr/local/go/bin/go ]] || go=/usr/local/go/bin/go
  [[ -n $go ]] || die "vegeta needs a Go of its time, and none is here"
  say "building vegeta $VEGETA"
  mkdir -p "$folder"
  GOBIN=$folder GOFLAGS=-mod=mod "$go" install "github.com/tsenart/vegeta/v12@$VEGETA" >>"$log" 2>&1 ||
    die "this Go cannot build vegeta: see $log"
  echo "$VEGETA" >"$folder/complete"
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
