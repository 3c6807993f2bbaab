"""Full runs in two processes: the same as in one process with all the devices, and the same after one was killed.

`pytest -m slow tests/distributed/test_process_runs.py` (75 minutes on two cores that others kept busy too).
"""

import math
import os
import signal
import time

import jax
import numpy as np
import pytest
from process_toys import commands, ends, started
from run_toys import host, read_lines, write_tokenizer
from stopped_runs import differences

from sml_jax.common.errors import EXIT_PEER_LOST, EXIT_STOPPED
from sml_jax.models.hf.checkpoint import load_model

pytestmark = pytest.mark.slow
LAYOUTS = {"data": "8,1,1", "fsdp": "1,8,1", "tensor": "1,1,8"}
SMALL = "2,1,2"  # of four devices, for runs that are killed
PATIENCE = 900  # seconds


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_tokenizer(folder / "toy.model")
    return folder


@pytest.fixture(scope="module")
def unstopped(home):
    """A run in two processes that nobody killed."""
    assert codes(run(home, "unstopped")) == [0, 0]
    return home / "unstopped"


def start(home, name, layout=SMALL, processes=2, death=""):
    """A run in `home / name`, started; see `process_programs.run`."""
    lines = commands("run", processes, home / f"{name}.out", str(home / name), str(home), layout, death)
    return started(home / f"{name}.said", lines, devices=math.prod(map(int, layout.split(","))) // processes)


def run(*args, **settings):
    """Runs it to its end; returns how its processes ended."""
    with start(*args, **settings) as running:
        return ends(running, PATIENCE)


def codes(ended):
    """Exit codes; prints what each process wrote to standard error, for a failed test."""
    for process in ended:
        print(process.code, process.err[-2000:])
    return [process.code for process in ended]


def largest_difference(one, other):
    """The largest difference between the parameters of two finished runs."""
    params = [host(load_model(folder)[1]) for folder in (one, other)]
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), *params)))


def same_dialogues(one, other):
    """Whether all dialogues of training and evaluation are the same, token for token, with all results."""
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in ("dialogues.jsonl", "eval.json"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_of_four_devices_do_as_one_of_eight(home, layout):
    """The same tokens in every dialogue; the same parameters but for the order of sums."""
    two, one = home / f"two-{layout}", home / f"one-{layout}"
    for folder, count in ((two, 2), (one, 1)):
        assert codes(run(home, folder.name, LAYOUTS[layout], count)) == [0] * count
    assert len(read_lines(two / "metrics.jsonl")) == len(read_lines(one / "metrics.jsonl")) > 6
    print(f"{layout}: parameters differ by at most {largest_difference(one, two):.1e}")
    assert same_dialogues(one, two) and largest_difference(one, two) < 1e-6


def test_only_process_0_prints(unstopped):
    printed = [(unstopped.parent / "unstopped.said" / f"{p}.out").read_text() for p in range(2)]
    assert "success" in printed[0] and str(unstopped) in printed[0]
    # Gloo, which carries collectives between CPUs, prints by itself.
    assert not [line for line in printed[1].splitlines() if not line.startswith("[Gloo]")]


@pytest.mark.parametrize(("where", "victim"), [("rollout:20", 1), ("update:5", 0)])
def test_one_process_killed_and_the_job_started_again(home, unstopped, where, victim):
    """Within a minute the other one names it; started again, the run ends bit for bit as one never stopped."""
    name = f"killed-in-{where.partition(':')[0]}"
    ended = run(home, name, death=f"{where}:{victim}")
    lost, other = ended[victim], ended[1 - victim]
    assert lost.code == -signal.SIGKILL and other.code == EXIT_PEER_LOST, ended
    # The job ended in the middle of training, and soon after the kill.
    steps = len(read_lines(home / name / "metrics.jsonl"))
    print(f"{name}: the other process ended {other.at - lost.at:.1f} s later, after {steps} lines of metrics")
    assert 1 < steps < len(read_lines(unstopped / "metrics.jsonl")) and not (home / name / "eval.json").exists()
    assert other.at - lost.at < 60
    # One line says which process was lost and what to do.
    errors = [line for line in other.err.splitlines() if line.startswith("sml-jax: error: ")]
    assert len(errors) == 1 and f"process {victim} of 2 (host " in errors[0]
    assert "start the job again and it goes on from the last checkpoint" in errors[0]
    assert "Traceback" not in other.err
    # Started again, it goes on to the same end.
    assert codes(run(home, name)) == [0, 0]
    assert differences(unstopped, home / name) == [] and same_dialogues(unstopped, home / name)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_checkpoint_of_some_processes_restored_by_others(home, unstopped, before, after):
    name = f"from-{before}-to-{after}"
    ended = run(home, name, processes=before, death="update:5:0")
    assert ended[0].code == -signal.SIGKILL, ended
    again = run(home, name, processes=after)
    assert codes(again) == [0] * after and "going on after step" in again[0].out
    print(f"{name}: parameters differ by at most {largest_difference(unstopped, home / name):.1e}")
    assert same_dialogues(unstopped, home / name) and largest_difference(unstopped, home / name) < 1e-6


def test_one_process_asked_to_stop_stops_both(home, unstopped):
    with start(home, "asked") as running:
        # Let it take a few steps, then ask one of the two.
        until = time.monotonic() + PATIENCE
        while len(read_lines(home / "asked" / "metrics.jsonl")) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(running[1].process.pid, signal.SIGTERM)
        ended = ends(running, PATIENCE)
    assert codes(ended) == [EXIT_STOPPED] * 2
    assert "stopped by SIGTERM after step" in ended[0].err and "stopped by" not in ended[1].err
    assert codes(run(home, "asked")) == [0, 0]
    assert differences(unstopped, home / "asked") == []
