#!/usr/bin/env bash
# Runs `sml-jax train` on every host of a Cloud TPU VM, and makes the VM where there is none:
#
#   launch/tpu_vm.sh --tpu=NAME --zone=ZONE --type=v5litepod-16 [--flag=value ...] -- \
#     --gin_file=gin/recipes/X.gin --workdir=DIR [--gin.NAME=VALUE ...]
#
#   --tpu=NAME             of the TPU VM, and of the queued resource that asks for it        (required)
#   --zone=ZONE            e.g. us-west4-a                                                   (required)
#   --type=TYPE            accelerator type, e.g. v5litepod-16                               (required)
#   --project=PROJECT      gcloud's own if not given
#   --version=VERSION      the VM's software; v2-alpha-tpuv5-lite for v5litepod, else tpu-ubuntu2204-base
#   --spot                 take machines that may be taken back
#   --source=DIR           the checkout that is copied and installed; the one that holds this script if not given
#   --bucket=BUCKET        mount it at /gcs/BUCKET on every host (gcsfuse), for --workdir=/gcs/BUCKET/...
#   --tries=N              how often a VM that was taken back is made again; 20
#   --dry_run              print the commands
#
# On several hosts --workdir must be seen by all of them: give --bucket. Output is kept on each host in ~/sml-jax.log.
# On each host launch/retry.sh starts the program again after 75 and 76; 2 ends it at once. A VM that was taken back is
# deleted, asked for again, and the run goes on from its folder. The VM is left running at the end: it costs until
#   gcloud compute tpus queued-resources delete NAME --zone=ZONE --force
set -euo pipefail

fail() {
  echo "tpu_vm.sh: error: $*" >&2
  exit 2
}
say() { echo "tpu_vm.sh: $*" >&2; }

tpu='' zone='' type='' project='' version='' bucket='' dry_run=''
spot=()
tries=20
source=$(cd "$(dirname "$(realpath "$0")")/.." && pwd)
while (($#)); do
  case $1 in
    --tpu=?*) tpu=${1#*=} ;;
    --zone=?*) zone=${1#*=} ;;
    --type=?*) type=${1#*=} ;;
    --project=?*) project=${1#*=} ;;
    --version=?*) version=${1#*=} ;;
    --bucket=?*) bucket=${1#*=} ;;
    --source=?*) source=${1#*=} ;;
    --tries=?*) tries=${1#*=} ;;
    --spot) spot=(--spot) ;;
    --dry_run) dry_run=yes ;;
    --help | -h)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
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
for name in tpu zone type; do
  if [[ -z ${!name} ]]; then fail "needs --$name=...; see --help"; fi
done
if [[ ! $tries =~ ^[1-9][0-9]*$ ]]; then fail "--tries=$tries: a whole number from 1"; fi
if [[ ! -f $source/pyproject.toml ]]; then fail "--source=$source holds no pyproject.toml"; fi
case " $* " in *" --workdir="*) ;; *) fail "needs -- --gin_file=... --workdir=...; see --help" ;; esac
case " $* " in *" --gin_file="*) ;; *) fail "needs -- --gin_file=... --workdir=...; see --help" ;; esac
case " $* " in *" --resume=never "*) fail "--resume=never: a run that comes back must find its own folder" ;; esac
if [[ -z $version ]]; then
  case $type in v5litepod-*) version='v2-alpha-tpuv5-lite' ;; *) version='tpu-ubuntu2204-base' ;; esac
fi
where=(--zone="$zone" ${project:+--project="$project"})

gcloud_tpus() {
  if [[ -n $dry_run ]]; then
    printf '%q ' gcloud compute tpus "$@"
    echo
  else
    gcloud compute tpus "$@"
  fi
}

state_of_request() {
  gcloud compute tpus queued-resources describe "$tpu" "${where[@]}" --format='value(state.state)' 2>/dev/null || true
}
state_of_vm() {
  gcloud compute tpus tpu-vm describe "$tpu" "${where[@]}" --format='value(state)' 2>/dev/null || true
}

# Asks for the VM unless it is there or asked for, and waits until it is ready.
have_vm() {
  local asked=''
  if [[ -n $dry_run ]]; then
    ask
    return
  fi
  while :; do
    if [[ $(state_of_vm) == READY ]]; then return; fi
    case $(state_of_request) in
      FAILED | SUSPENDED | SUSPENDING)
        gcloud_tpus queued-resources delete "$tpu" "${where[@]}" --force --quiet
        ask
        ;;
      '')
        if [[ -n $asked ]]; then fail "the request for $tpu is gone: see the message of gcloud above"; fi
        ask
        ;;
    esac
    asked=yes
    say "waiting for $tpu"
    sleep "${POLL:-30}"
  done
}
ask() {
  gcloud_tpus queued-resources create "$tpu" --node-id="$tpu" --accelerator-type="$type" --runtime-version="$version" \
    "${spot[@]}" "${where[@]}"
}

on_all() { gcloud_tpus tpu-vm ssh "$tpu" "${where[@]}" --worker=all --command="$1"; }

install() {
  local archive
  archive=$(mktemp --suffix=.tar.gz)
  tar -czf "$archive" -C "$source" --exclude=.git --exclude=.venv --exclude='*_cache' --exclude=__pycache__ .
  gcloud_tpus tpu-vm scp "$archive" "$tpu:sml-jax.tar.gz" "${where[@]}" --worker=all
  rm -f "$archive"
  on_all 'set -e; mkdir -p sml-jax; tar -xzf sml-jax.tar.gz -C sml-jax; cd sml-jax; python3.11 -m venv .venv ||
    { sudo apt-get -q update; sudo apt-get -q -y install python3.11-venv; python3.11 -m venv .venv; };
    .venv/bin/pip install -q -c constraints.txt -e . "jax[tpu]"'
  if [[ -n $bucket ]]; then
    local mounted folder
    mounted=$(printf '%q' "$bucket") folder=$(printf '%q' "/gcs/$bucket")
    on_all "mountpoint -q $folder || { sudo mkdir -p $folder; sudo chown \$USER $folder;
      gcsfuse --implicit-dirs -- $mounted $folder; }"
  fi
}

# A program that is still running from before this script was cut off is stopped first: it saves its state.
train() {
  local words
  words=$(printf '%q ' "$@")
  on_all "cd sml-jax; if [ -e ../sml-jax.pid ]; then kill \$(cat ../sml-jax.pid) 2>/dev/null &&
    tail --pid=\$(cat ../sml-jax.pid) -f /dev/null; fi; echo \$\$ > ../sml-jax.pid;
    exec launch/retry.sh --log=\$HOME/sml-jax.log .venv/bin/sml-jax train $words--distributed=auto"
}

for ((try = 1; try <= tries; try++)); do
  have_vm
  code=0
  # `if` and `||` would switch `set -e` off inside the functions.
  set +e
  (set -e; install)
  code=$?
  if ((code == 0)); then
    train "$@"
    code=$?
  fi
  set -e
  if [[ -n $dry_run ]] || ((code == 0)); then exit "$code"; fi
  # gcloud ssh gives the exit code of a host, or 255 or 1 where a connection was lost.
  if ((code == 2 || code == 130)); then exit "$code"; fi
  if [[ $(state_of_vm) == READY ]] && ((code != 255)); then
    say "exit $code, and $tpu is there: launch/retry.sh has given it up; see ~/sml-jax.log on its hosts"
    exit "$code"
  fi
  say "exit $code: $tpu was lost (try $try of $tries)"
  sleep "${POLL:-30}"
done
fail "$tpu was lost $tries times"
