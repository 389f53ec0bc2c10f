# What the commands in this folder share: where things are, installing packages (packages.sh), building.
# Always holds: sourced, not run; messages go to stderr; nothing is installed that is there already.
# shellcheck shell=bash

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
library=$root/build/release/libpoolalloc.so
secure_library=$root/build/release/libpoolalloc-secure.so

. "$root/scripts/packages.sh"

# What a build needs; commands that are there already, from wherever, are used.
install_build_tools() {
  local packages=()
  command -v c++ >/dev/null && command -v cc >/dev/null || packages+=(g++ gcc libc6-dev)
  command -v ninja >/dev/null || packages+=(ninja-build)
  command -v meson >/dev/null || packages+=(meson)
  command -v ld >/dev/null || packages+=(binutils)
  [ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
}

# build DIRECTORY MESON_OPTION...: sets up and builds; quiet unless it fails.
build() {
  local directory=$1 log
  shift
  log=$directory.log
  mkdir -p "$(dirname "$directory")" 2>/dev/null && : 2>/dev/null >>"$directory.lock" ||
    die "cannot build: no right to write to $(dirname "$directory")"
  (
    flock 9
    if [ ! -e "$directory/build.ninja" ]; then
      meson setup "$directory" "$root" "$@" || { rm -rf "$directory"; exit 1; }
    fi
    ninja -C "$directory"
  ) 9>"$directory.lock" >"$log" 2>&1 </dev/null || { tail -n 30 "$log" >&2; die "the build failed (log: $log)"; }
}

# Builds the library if it is not there or older than a source.
build_library() {
  local stamp=$root/build/release.built
  if [ -e "$library" ] && [ -e "$stamp" ] &&
     [ -z "$(find "$root/lib" "$root/interpose" "$root/meson.build" -newer "$stamp" -print -quit)" ]; then
    return
  fi
  install_build_tools
  say "building the library"
  build "$root/build/release"
  touch "$stamp"
  [ -e "$library" ] || die "the build in $root/build/release leaves ${library##*/} out"
}
