#!/usr/bin/env bash
# Runs `sml-jax train` under Slurm, one process a node:
#
#   launch/slurm.sh [--dry_run] [--sbatch=FLAG ...] -- --gin_file=gin/recipes/X.gin --workdir=DIR [--gin.NAME=VALUE ...]
#
#   launch/slurm.sh --sbatch=--partition=gpu --sbatch=--nodes=2 --sbatch=--gres=gpu:4 --sbatch=--time=24:00:00 -- \
#     --gin_file=gin/recipes/math_online.gin --workdir=/shared/runs/math
#
# It submits itself. LEAD seconds (300) before the time limit, and at preemption, the processes get SIGTERM, save their
# state and leave with 75; the job then goes back into the queue under its own number and goes on from there. The same
# after 76 (another process was lost). 2 (something to mend) and everything else ends it.
set -euo pipefail

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}
fail() {
  echo "slurm.sh: error: $*" >&2
  exit 2
}

# Within the job: `slurm.sh --in_job ARGUMENT ...`.
in_job() {
  local distributed=() step='' signalled='' again code=0
  if ((${SLURM_JOB_NUM_NODES:-1} > 1)); then distributed=(--distributed=auto); fi
  # Slurm signals this script alone (--signal=B:, and scancel --batch); srun hands SIGTERM on to every process.
  trap 'signalled=yes; if [[ -n $step ]]; then kill -TERM "$step" 2>/dev/null; fi' TERM
  # --kill-on-bad-exit=0: the others learn of a lost process by themselves, and leave with 76.
  srun --ntasks-per-node=1 --kill-on-bad-exit=0 sml-jax train "$@" "${distributed[@]}" &
  step=$!
  if [[ -n $signalled ]]; then kill -TERM "$step"; fi  # it came before `step` was known
  wait "$step" || code=$?
  # A signal ends `wait` before the step has ended; 127: it had ended, and `code` is its own.
  while [[ -n $signalled ]]; do
    signalled=
    again=0
    wait "$step" || again=$?
    if ((again != 127)); then code=$again; fi
  done
  if ((code == 75 || code == 76)); then
    if ((${SLURM_RESTART_COUNT:-0} >= ${MAX_REQUEUES:-100})); then
      echo "slurm.sh: exit $code, requeued ${SLURM_RESTART_COUNT} times: given up" >&2
      exit "$code"
    fi
    echo "slurm.sh: exit $code: back into the queue" >&2
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
  exit "$code"
}

dry_run=
flags=()
while (($#)); do
  case $1 in
    --in_job)
      shift
      in_job "$@"
      ;;
    --dry_run) dry_run=yes ;;
    --sbatch=*) flags+=("${1#--sbatch=}") ;;
    --help | -h)
      usage
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) fail "unknown argument $1; the arguments of sml-jax train come after --; see --help" ;;
  esac
  shift
done

workdir=
gin_file=
for argument in "$@"; do
  case $argument in
    --workdir=?*) workdir=${argument#--workdir=} ;;
    --gin_file=?*) gin_file=${argument#--gin_file=} ;;
    --resume=never) fail "--resume=never: a job that comes back must find its own folder" ;;
  esac
done
if [[ -z $workdir || -z $gin_file ]]; then
  fail "needs -- --gin_file=... --workdir=... (a folder that every node sees); see --help"
fi

# Flags given by --sbatch come later, so they win.
command=(sbatch --job-name="$(basename "$gin_file" .gin)" --requeue --open-mode=append --output="${workdir%/}.log"
  --signal="B:TERM@${LEAD:-300}" "${flags[@]}" "$(realpath "$0")" --in_job "$@")
if [[ -n $dry_run ]]; then
  printf '%q ' "${command[@]}"
  echo
else
  mkdir -p "$(dirname "${workdir%/}")"
  "${command[@]}"
fi
