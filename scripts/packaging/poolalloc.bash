# Completion of poolalloc(1) for bash.
# shellcheck shell=bash

_poolalloc() {
  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]-} words
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='run path check stats top map profile leaks trim compare bench options version help --help --version'
  else
    case $command in
      run) words='--stats --profile --leaks --secure --help --version' ;;
      leaks) words='--help --version' ;;
      profile) words='--seconds --interval --by --top --svg --output --help --version' ;;
      path) words='--secure --help --version' ;;
      compare) words='--rounds --peers --help --version' ;;
      stats) words='--json --help --version' ;;
      top) words='--interval --help --version' ;;
      trim) words='--wait --help --version' ;;
      help) words='options run path check stats top map profile leaks trim compare bench' ;;
      *) words='--help --version' ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  [ "$COMP_CWORD" -gt 1 ] || return 0
  case $command in
    run | leaks | check | compare) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -A command -A file -- "$word") ;;
    stats | top | map | profile | trim) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$(ps -eo comm= | sort -u)" -- "$word") ;;
  esac
}
complete -F _poolalloc poolalloc
