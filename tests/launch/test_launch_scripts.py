"""`launch/slurm.sh` and `launch/tpu_vm.sh`, with stand-ins for Slurm and gcloud that write down their calls."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
TRAIN = ("--", "--gin_file=gin/recipes/x.gin", "--workdir=/shared/my run", "--gin.A='two words'")
TPU = ("--tpu=t", "--zone=z", "--type=v5litepod-16", "--source=source")


@pytest.fixture
def call(tmp_path):
    """Calls a script; `programs` are shell texts by name. Returns its result and the calls, a list of words each."""
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "pyproject.toml").touch()

    def run(script: str, *arguments: str, programs: dict[str, str], **environment: str):
        for name, text in programs.items():
            path = folder / name
            path.write_text(
                f"#!/usr/bin/env bash\n{{ printf '%s\\37' {name} \"$@\"; printf '\\36'; }} >> {log}\n{text}\n"
            )
            path.chmod(0o755)
        log.write_text("")
        env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "POLL": "0", "T": str(tmp_path), **environment}
        command = [LAUNCH / script, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        return done, [words.split("\x1f")[:-1] for words in log.read_text().split("\x1e")[:-1]]

    return run


def test_slurm_submits_itself(call, tmp_path):
    train = (*TRAIN[:2], f"--workdir={tmp_path}/a/my run", TRAIN[3])
    done, calls = call("slurm.sh", "--sbatch=--nodes=2", *train, programs={"sbatch": ""})
    assert done.returncode == 0, done.stderr
    (sbatch,) = calls
    assert {"--requeue", "--signal=B:TERM@300", "--job-name=x", f"--output={tmp_path}/a/my run.log"} <= set(sbatch)
    assert sbatch[-5:] == [str(LAUNCH / "slurm.sh"), "--in_job", *train[1:]]
    assert sbatch.index("--nodes=2") < sbatch.index("--in_job") and (tmp_path / "a").is_dir()
    dry, none = call("slurm.sh", "--dry_run", "--sbatch=--nodes=2", *train, programs={"sbatch": ""})
    assert none == [] and shlex.split(dry.stdout) == sbatch


@pytest.mark.parametrize(
    ("code", "restarts", "expected", "requeued"),
    [(0, 0, 0, False), (2, 0, 2, False), (1, 0, 1, False), (75, 0, 0, True), (76, 4, 0, True), (75, 100, 75, False)],
    ids=[str(i) for i in range(6)],
)
def test_slurm_in_the_job(code, restarts, expected, requeued, call):
    settings = {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": str(restarts), "SLURM_JOB_NUM_NODES": "2"}
    programs = {"srun": f"exit {code}", "scontrol": ""}
    done, calls = call("slurm.sh", "--in_job", *TRAIN[1:], programs=programs, **settings)
    assert done.returncode == expected, done.stderr
    assert (["scontrol", "requeue", "17"] in calls) == requeued
    assert calls[0][-6:] == ["sml-jax", "train", *TRAIN[1:], "--distributed=auto"] and calls[0][0] == "srun"


def test_slurm_hands_the_signal_on_and_waits_for_the_state_to_be_saved(call, tmp_path):
    srun = f"trap 'sleep 0.3; touch {tmp_path}/saved; exit 75' TERM; kill -TERM $PPID; while :; do sleep 0.05; done"
    done, calls = call("slurm.sh", "--in_job", *TRAIN[1:], programs={"srun": srun, "scontrol": ""}, SLURM_JOB_ID="17")
    assert done.returncode == 0 and (tmp_path / "saved").exists()
    assert ["scontrol", "requeue", "17"] in calls and calls[0][-1] == TRAIN[-1]


# A VM that is ready once it was asked for; `ssh` with the program exits with the codes in the file `codes`, in turn.
GCLOUD = """
case "$*" in
  *"tpu-vm describe"*) [ -e $T/vm ] && echo READY ;;
  *"queued-resources describe"*) [ -e $T/vm ] && echo ACTIVE ;;
  *"queued-resources create"*) touch $T/vm ;;
  *"queued-resources delete"*) rm -f $T/vm ;;
  *retry.sh*)
    code=$(head -n 1 $T/codes)
    sed -i 1d $T/codes
    if [ $code = lost ]; then rm $T/vm; exit 255; fi
    exit $code ;;
esac
exit 0
"""


def verbs(calls: list[list[str]]) -> list[str]:
    return [f"{words[3]} {words[4]}" for words in calls if words[4] != "describe"]


def test_tpu_vm_asks_for_the_vm_installs_and_runs_on_every_host(call, tmp_path):
    (tmp_path / "codes").write_text("0\n")
    done, calls = call("tpu_vm.sh", *TPU, "--spot", "--project=p", "--bucket=b", *TRAIN, programs={"gcloud": GCLOUD})
    assert done.returncode == 0, done.stderr
    assert verbs(calls) == ["queued-resources create", "tpu-vm scp", "tpu-vm ssh", "tpu-vm ssh", "tpu-vm ssh"]
    create = next(words for words in calls if "create" in words)
    assert create[3:] == [
        *("queued-resources", "create", "t", "--node-id=t", "--accelerator-type=v5litepod-16"),
        *("--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--zone=z", "--project=p"),
    ]
    on_hosts = [words for words in calls if words[4] in ("ssh", "scp")]
    assert all({"--worker=all", "--zone=z", "--project=p"} <= set(words) for words in on_hosts)
    install, mount, train = [words[-1] for words in on_hosts[1:]]
    assert "pip install -q -c constraints.txt" in install and "gcsfuse" in mount
    for command in (install, mount, train):
        assert subprocess.run(["bash", "-n", "-c", command.removeprefix("--command=")]).returncode == 0
    words = shlex.split(train[train.index("exec launch/retry.sh") :])
    assert words[3:] == [".venv/bin/sml-jax", "train", *TRAIN[1:], "--distributed=auto"]
    again, calls = call("tpu_vm.sh", *TPU, *TRAIN, programs={"gcloud": "case $* in *describe*) echo READY;; esac"})
    assert again.returncode == 0 and "queued-resources create" not in verbs(calls)


@pytest.mark.parametrize(
    "bucket",
    ["b", "b c", "b;touch gone", "$(touch gone)", "`touch gone`", "b' 'c", 'b"c', "b\\c", "b*", "b\nc", "-b"],
    ids=[str(i) for i in range(11)],
)
def test_tpu_vm_mounts_the_bucket_as_it_is_named(bucket, call, tmp_path):
    (tmp_path / "codes").write_text("0\n")
    done, calls = call("tpu_vm.sh", *TPU, f"--bucket={bucket}", *TRAIN, programs={"gcloud": GCLOUD})
    assert done.returncode == 0, done.stderr
    (mount,) = [words[-1].removeprefix("--command=") for words in calls if "gcsfuse" in words[-1]]
    # The command of the remote shell, with stand-ins for all programs that it calls.
    host = tmp_path / "host"
    host.mkdir()
    stand_ins = "mountpoint() { false; }; sudo() { printf '%s\\0' \"$@\"; }; gcsfuse() { printf '%s\\0' \"$@\"; };"
    remote = ["bash", "-c", f"{stand_ins} {mount}"]
    printed = subprocess.run(
        remote, capture_output=True, text=True, cwd=host, env={**os.environ, "USER": "someone"}, timeout=20
    ).stdout
    words = printed.split("\0")[:-1]
    assert words[:3] == ["mkdir", "-p", f"/gcs/{bucket}"] and words[3:6] == ["chown", "someone", f"/gcs/{bucket}"]
    assert words[6:] == ["--implicit-dirs", "--", bucket, f"/gcs/{bucket}"] and list(host.iterdir()) == []


def test_tpu_vm_that_was_taken_back_is_made_again(call, tmp_path):
    (tmp_path / "codes").write_text("lost\nlost\n0\n")
    done, calls = call("tpu_vm.sh", *TPU, *TRAIN, programs={"gcloud": GCLOUD})
    assert done.returncode == 0, done.stderr
    assert verbs(calls).count("queued-resources create") == 3


@pytest.mark.parametrize("code", [2, 1, 75])
def test_tpu_vm_is_not_tried_again_where_the_program_was_given_up(code, call, tmp_path):
    (tmp_path / "codes").write_text(f"{code}\n0\n")
    done, _ = call("tpu_vm.sh", *TPU, *TRAIN, programs={"gcloud": GCLOUD})
    assert done.returncode == code and (tmp_path / "codes").read_text() == "0\n"


def test_tpu_vm_dry_run_calls_nothing(call):
    done, calls = call("tpu_vm.sh", "--dry_run", *TPU, *TRAIN, programs={"gcloud": "exit 1"})
    assert done.returncode == 0 and calls == []
    printed = [line for line in done.stdout.splitlines() if line.startswith("gcloud compute tpus ")]
    assert len(printed) >= 4 and "--worker=all" in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("slurm.sh", ["--nodes=2", *TRAIN], "come after --"),
        ("slurm.sh", ["--", "--workdir=/x"], "needs -- --gin_file="),
        ("slurm.sh", [*TRAIN, "--resume=never"], "must find its own folder"),
        ("tpu_vm.sh", ["--tpu=t", "--zone=z", *TRAIN], "needs --type="),
        ("tpu_vm.sh", [*TPU, "--", "--gin_file=x"], "--workdir="),
        ("tpu_vm.sh", [*TPU, "--tries=0", *TRAIN], "whole number"),
        ("tpu_vm.sh", [*TPU, "--source=/nowhere", *TRAIN], "no pyproject.toml"),
        ("tpu_vm.sh", [*TPU, "--worker=0", *TRAIN], "unknown argument --worker=0"),
    ],
    ids=[str(i) for i in range(8)],
)
def test_errors_of_scripts(script, arguments, message, call):
    done, calls = call(script, *arguments, programs={"gcloud": "", "sbatch": ""})
    assert done.returncode == 2 and message in done.stderr and calls == [], done.stderr
