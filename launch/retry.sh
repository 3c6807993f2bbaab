#!/usr/bin/env bash
# Runs a command again for as long as that helps:  retry.sh [--log=FILE] COMMAND [ARGUMENT ...]
#
# Exit codes of `sml-jax train`: 75 (stopped, state saved) and 76 (another process of the run was lost) mean "start it
# again with the same command". 0 is the end, 2 is something for a person to mend, 130 is Ctrl-C: none is tried again.
# Anything else is a crash, tried again RETRY_CRASHES times in all. A command that came back within RETRY_QUICK seconds
# RETRY_QUICK_TIMES times in a row is given up too. SIGTERM and SIGINT reach the command as SIGTERM (a shell starts its
# background commands deaf to SIGINT), and nothing is started after.
set -uo pipefail

: "${RETRY_CRASHES:=3}" "${RETRY_QUICK:=60}" "${RETRY_QUICK_TIMES:=5}" "${RETRY_PAUSE:=5}"

say() { echo "retry.sh: $*" >&2; }

log=
if [[ ${1-} == --log=* ]]; then
  log=${1#--log=}
  shift
fi
if (($# == 0)); then
  say "name a command: retry.sh [--log=FILE] COMMAND [ARGUMENT ...]"
  exit 2
fi
if [[ -n $log ]]; then
  mkdir -p "$(dirname "$log")" || exit 2
  exec > >(trap '' TERM INT; exec tee -a "$log") 2>&1
fi

child=
stopping=
signalled=
on_signal() {
  stopping=$1
  signalled=yes
  if [[ -n $child ]]; then kill -s TERM "$child" 2>/dev/null; fi
}
trap 'on_signal TERM' TERM
trap 'on_signal INT' INT

crashes=0
quick=0
while :; do
  started=$SECONDS
  "$@" &
  child=$!
  if [[ -n $stopping ]]; then kill -s TERM "$child" 2>/dev/null; fi # it came before `child` was known
  wait "$child"
  code=$?
  # A signal ends `wait` before the command has ended; 127: it had ended, and `code` is its own.
  while [[ -n $signalled ]]; do
    signalled=
    wait "$child"
    again=$?
    if ((again != 127)); then code=$again; fi
  done
  child=
  if [[ -n $stopping ]]; then
    say "stopped by SIG$stopping; the command exited $code"
    exit "$code"
  fi
  case $code in
    0 | 2 | 130) exit "$code" ;;
    75 | 76) ;;
    *)
      crashes=$((crashes + 1))
      if ((crashes > RETRY_CRASHES)); then
        say "exit $code, crash $crashes: given up"
        exit "$code"
      fi
      ;;
  esac
  if ((SECONDS - started < RETRY_QUICK)); then quick=$((quick + 1)); else quick=0; fi
  if ((quick >= RETRY_QUICK_TIMES)); then
    say "exit $code, $quick times in a row within $RETRY_QUICK s: given up"
    exit "$code"
  fi
  say "exit $code after $((SECONDS - started)) s; starting it again"
  sleep "$RETRY_PAUSE" &
  wait $!
  if [[ -n $stopping ]]; then exit "$code"; fi
done
