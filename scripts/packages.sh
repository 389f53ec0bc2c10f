# Installing Debian packages that a command needs.
# Always holds: sourced, not run; messages go to stderr; nothing is installed that is there already.
# shellcheck shell=bash

say() { printf 'poolalloc: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# install_packages PACKAGE...: installs Debian packages that are missing, through sudo where needed.
install_packages() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = 'install ok installed' ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "please install: ${missing[*]} (no apt-get here to do it)"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "please install: ${missing[*]} (not root, and no sudo)"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --no-upgrade "${missing[@]}" ||
         { "${as_root[@]}" apt-get update &&
           "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --no-upgrade "${missing[@]}"; }
       } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "could not install ${missing[*]} (log: $log)"
  fi
  rm -f "$log"
}
