"""Two real runs on one folder: the second is refused, and a killed or an unseen one makes way for the next.

`pytest -m slow tests/test_two_runs.py`; tests/run/io/test_lock.py has the lock alone.
"""

import json
import os
import signal
import time

import pytest
from run_toys import read_lines, write_tokenizer
from stopped_runs import start


def wait_for_step(run, step, process):
    """Until the run has written the checkpoint of a step."""
    while process.is_alive() and not (run / "checkpoints" / "steps" / str(step)).is_dir():
        time.sleep(0.01)
    assert process.is_alive()


@pytest.mark.slow
def test_a_second_run_is_refused_and_a_killed_one_makes_way(tmp_path):
    run, output = tmp_path / "run", tmp_path / "output.txt"
    write_tokenizer(tmp_path / "toy.model")
    first = start(run, tmp_path, short=True)
    wait_for_step(run, 1, first)
    # The second one ends with one line, and leaves the folder to the first one.
    os.kill(first.pid, signal.SIGSTOP)
    printed, before = output.read_text(), {p: p.read_bytes() for p in run.glob("*.jsonl")}
    second = start(run, tmp_path, short=True)
    second.join()
    assert second.exitcode == 2
    (error,) = [line for line in output.read_text()[len(printed) :].splitlines() if line.startswith("sml-jax: error: ")]
    assert f"{run} is held by process {first.pid} on host {os.uname().nodename}" in error
    assert {p: p.read_bytes() for p in run.glob("*.jsonl")} == before
    # Killed within its work, the first one leaves its lock behind, and the third goes on at once.
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert json.loads((run / "run.lock").read_text())["pid"] == first.pid
    third = start(run, tmp_path, short=True)
    third.join()
    assert third.exitcode == 0
    assert not (run / "run.lock").exists()
    assert [line["step"] for line in read_lines(run / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_pod_that_lost_sight_of_its_node_makes_way_and_writes_nothing_more(tmp_path):
    """It is suspended for longer than its successor waits, and goes on when that one has finished the run."""
    run, output = tmp_path / "run", tmp_path / "output.txt"
    write_tokenizer(tmp_path / "toy.model")
    first = start(run, tmp_path, short=True, host="pod-1")
    wait_for_step(run, 1, first)
    os.kill(first.pid, signal.SIGSTOP)
    second = start(run, tmp_path, short=True, host="pod-2")
    second.join()
    assert second.exitcode == 0, output.read_text()
    assert (
        f"no heartbeat of process {first.pid} on host pod-1 for 2 seconds: its lock is taken over" in output.read_text()
    )
    # Apart from its own file of curves, which gets those points that it had drawn before.
    paths = [path for path in run.rglob("*") if path.is_file() and path.parent.name != "tensorboard"]
    before = {path: path.read_bytes() for path in paths}
    os.kill(first.pid, signal.SIGCONT)
    first.join()
    assert first.exitcode == 2
    errors = [line for line in output.read_text().splitlines() if line.startswith("sml-jax: error: ")]
    # The second has ended and removed its lock, or has it still.
    assert len(errors) == 1 and ("has taken over" in errors[0] or "was removed while this run held it" in errors[0])
    assert [line["step"] for line in read_lines(run / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert {path: path.read_bytes() for path in paths if path.exists()} == before
