"""Several real processes: the values that they pass to each other, and how all end when one fails or is lost.

All but one are slow: `pytest -m slow tests/distributed/test_processes.py`.
"""

import json
import os
import signal
import time

import pytest
from process_toys import commands, ends, started, wait_until
from run_toys import write_tokenizer

from sml_jax.common.errors import EXIT_PEER_LOST, UserError
from sml_jax.distributed import processes
from sml_jax.distributed.membership import ProcessGroup, join_group


def test_three_processes_tell_each_other_things(tmp_path):
    with started(tmp_path, commands("words", 3, tmp_path / "found"), devices=1) as running:
        ended = ends(running, within=120)
    assert [e.code for e in ended] == [0, 0, 0], ended
    found = [json.loads((tmp_path / f"found.{p}").read_text()) for p in range(3)]
    assert [f.pop("primary") for f in found] == [True, False, False]
    assert [e.out for e in ended] == ["said by 0\n", "", ""], "only process 0 prints"
    assert found[0] == found[1] == found[2]
    assert found[0] == {
        "count": 3,
        "exchange": [[{"from": p, "round": n} for p in range(3)] for n in range(3)],
        "long": [1_000_000, 2_000_000, 3_000_000],
        "broadcast": "of 0",
        "any": [False, True],
        "shared": [[10, 0], [11, 1], [12, 2], [13, 0], [14, 1]],
        "share": "process 1 of 3 failed: OSError: no such disk",
        "line": True,
        "agree": "the recipe of process 1 is not that of process 0: give all 3 processes the same recipe, flags, data "
        "and version",
    }


@pytest.mark.slow
def test_a_teacher_of_ones_own_says_the_same_in_every_process(tmp_path):
    """Process 0 alone asks it, whatever it would say elsewhere, and whenever."""
    tokenizer = write_tokenizer(tmp_path / "toy.model")
    with started(tmp_path, commands("own_teacher", 2, tmp_path / "found", str(tokenizer)), devices=1) as running:
        ended = ends(running, within=120)
    assert [e.code for e in ended] == [0, 0], ended
    found, other = (json.loads((tmp_path / f"found.{p}").read_text()) for p in range(2))
    assert found == other
    order, texts, dropped = found
    assert sorted(order) == [0, 1, 2, 3, 5] and texts == ["a", "a", "a", "a", "1", "a"]
    assert dropped[4].startswith("problem: the scripted reply: ConnectionError: no endpoint")
    assert not any(reason for i, reason in enumerate(dropped) if i != 4)


def test_one_process_alone_tells_itself():
    with join_group(ProcessGroup()):
        assert processes.all_gather({"a": 1}) == [{"a": 1}] and processes.broadcast((1, 2)) == (1, 2)
        assert processes.any_process(True) and not processes.any_process(False)
        assert processes.is_primary() and (processes.process_id(), processes.process_count()) == (0, 1)
        processes.assert_equal("anything", "at all")
        assert processes.map_across_processes(sorted, [3, 1], str, int) == [1, 3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_processes": 2}, "give --coordinator_address=HOST:PORT, --num_processes=N and --process_id=I all three"),
        ({"coordinator_address": "here", "num_processes": 2, "process_id": 0}, "coordinator_address is 'here'"),
        ({"coordinator_address": "h:1", "num_processes": 0, "process_id": 0}, "num_processes is 0"),
        ({"coordinator_address": "h:1", "num_processes": 2, "process_id": 2}, "process_id is 2; .* from 0 to 1"),
        ({"coordinator_address": "h:1", "num_processes": 2, "process_id": -1}, "process_id is -1"),
    ],
    ids=["incomplete", "address", "count", "high", "negative"],
)
def test_groups_that_cannot_be(given, message):
    with pytest.raises(UserError, match=message):
        ProcessGroup(**given)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["all", "0", "1"])
@pytest.mark.parametrize(("kind", "code"), [("user", 2), ("key", 1)])
def test_an_error_ends_all_with_one_message(tmp_path, kind, code, where):
    with started(tmp_path, commands("error", 2, tmp_path / "found", kind, where), devices=1) as running:
        ended = ends(running, within=120)
    assert [e.code for e in ended] == [code, code], ended
    if where == "all":
        told = {"user": "sml-jax: error: the disk is missing", "key": "KeyError: 'the disk is missing'"}[kind]
        assert ended[0].err.count(told) == 1 and "the disk" not in ended[1].err, ended
    else:
        for process in ended:
            assert f"process {where} of 2 (host " in process.err and "the disk is missing" in process.err
            assert ("Traceback" in process.err) == (kind == "key" and process is ended[int(where)]), process.err


@pytest.mark.slow
def test_only_process_0_writes_to_the_folder_of_a_run(tmp_path):
    lines = commands("folder", 2, tmp_path / "found", str(tmp_path / "run"), "shared")
    with started(tmp_path, lines, devices=1) as running:
        assert [e.code for e in ends(running, within=120)] == [0, 0]
    found = [json.loads((tmp_path / f"found.{p}").read_text()) for p in range(2)]
    assert found[0] == found[1]
    assert found[0] == [
        "of 0",
        '{"step": 1, "stage": "online", "of": 0}\n',
        '{"of": 0}\n',
        '{\n  "of": 0\n}\n',
        *("config.gin", "dialogues.jsonl", "eval.json", "metrics.jsonl", "run.lock", "tensorboard"),
    ]


@pytest.mark.slow
def test_a_folder_that_not_all_share(tmp_path):
    lines = commands("folder", 2, tmp_path / "found", str(tmp_path / "run"), "apart")
    with started(tmp_path, lines, devices=1) as running:
        ended = ends(running, within=120)
    assert [e.code for e in ended] == [2, 2]
    assert "sml-jax: error: process 1 does not see the files that process 0 writes to " in ended[0].err
    assert not ended[1].err and not list((tmp_path / "run").glob("*/.*"))


@pytest.mark.slow
@pytest.mark.parametrize("me", [0, 1])
def test_peers_that_never_come(tmp_path, me):
    with started(tmp_path, commands("alone", 2, tmp_path / "found")[me : me + 1], devices=1) as running:
        (ended,) = ends(running, within=120)
    told = ended.err.splitlines()[-1]
    assert ended.code == 2 and told.startswith("sml-jax: error: the processes of the run did not find each other"), (
        ended
    )


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("how", ["store", "collective", "clock"])
def test_a_lost_peer_ends_the_others_and_is_named(tmp_path, how, victim, sent):
    with started(tmp_path, commands("waits", 3, tmp_path / "found", how), devices=1) as running:
        wait_until([tmp_path / f"going.{p}" for p in range(3)], running)
        lost = running[victim]
        os.kill(lost.process.pid, sent)
        at = time.monotonic()
        ended = ends([one for one in running if one is not lost], within=60)
    for process in ended:
        assert process.code == EXIT_PEER_LOST, process
        assert f"process {victim} of 3 (host " in process.err and f"pid {lost.process.pid}) was lost" in process.err
        assert "start the job again and it goes on from the last checkpoint" in process.err
        assert "Traceback" not in process.err
        assert process.at - at < 30  # 8 seconds without a sign of life here, 25 by default
