"""Runs that are killed or asked to stop, in processes of their own, and start again: they end as if never stopped.

All of them: `pytest -m slow tests/test_stopped_runs.py` (about ten minutes on two quiet cores).
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stopped_runs import differences, start, stop, whole_run

KILLS, TERMS = 20, 5


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("home"))


@pytest.mark.slow
def test_a_run_killed_while_it_writes_its_first_checkpoint(tmp_path, finished_run):
    folder, _ = finished_run
    code = stop(start(tmp_path / "run", folder.parent), signal.SIGKILL, 0.0, writing=tmp_path / "run")
    assert code == -signal.SIGKILL
    assert start_again(tmp_path / "run", folder.parent) == 0
    assert differences(folder, tmp_path / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_killed_at_a_random_moment(tmp_path, finished_run, number):
    """Every other one in the middle of writing a checkpoint."""
    folder, seconds = finished_run
    run, draw = tmp_path / "run", random.Random(number)
    after = draw.uniform(0.2, 1.0) * seconds
    code = stop(start(run, folder.parent), signal.SIGKILL, after, writing=run if number % 2 else None)
    print(f"killed after {after:.2f} of {seconds:.2f} s, exit code {code}")
    assert start_again(run, folder.parent) == 0
    assert differences(folder, run) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(TERMS))
def test_a_run_asked_to_stop_at_a_random_moment(tmp_path, finished_run, number):
    folder, seconds = finished_run
    run, draw = tmp_path / "run", random.Random(100 + number)
    code = stop(start(run, folder.parent), signal.SIGTERM, draw.uniform(0.35, 0.95) * seconds)
    print("exit code", code)
    assert code in (75, 0, -signal.SIGTERM)  # the last: before the run began to listen
    assert start_again(run, folder.parent) == 0
    assert differences(folder, run) == []


@pytest.mark.slow
def test_a_disk_that_is_full_and_then_read_only(finished_run):
    """Each start says what is wrong and exits with 2; once there is room the run ends as one that always had it."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace of one's own is to be had here")
    home = finished_run[0].parent
    command = [*namespace, sys.executable, str(Path(__file__).with_name("full_disk.py")), str(home)]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    print(done.stdout[-3000:], done.stderr[-3000:])
    assert done.returncode == 0 and "codes [2, 2, 2, 0]" in done.stdout and "differences []" in done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("sml-jax: error: ")]
    assert len(errors) == 3
    assert all("make room" in line for line in errors[:2]) and "cannot write to workdir" in errors[2]


def start_again(run, home):
    process = start(run, home)
    process.join()
    return process.exitcode
