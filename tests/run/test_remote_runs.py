"""Runs whose teacher is behind an endpoint: they go on to the last bit after a stop, and the key is in no file."""

import dataclasses
import hashlib
import json
import os
import signal

import gin
import pytest
from endpoint_toys import CUT, refusal, serving
from run_toys import OPTIMIZER, ToyTask, read_lines, toy_experiment
from stopped_runs import differences

from sml_jax.common.errors import Stopped, UserError
from sml_jax.dialogue.chat_client import ChatClient
from sml_jax.dialogue.teachers import Remote, Retry
from sml_jax.evaluate.suites import Suite
from sml_jax.gin_config.load import load_experiment
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.replies import RecordedReplies
from sml_jax.run.stages import Online

KEY = "sk-very-secret-0123456789abcdef"
STAGE = Online(OPTIMIZER, steps=3, problems_per_step=4, group_size=2, micro_batch_size=8, dialogues_logged=8)


@pytest.fixture(autouse=True)
def key_in_environment(monkeypatch):
    monkeypatch.setenv("TOY_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def reply(asked) -> str:
    """A function of the request alone; every fifth request fails at first, and every eleventh for good."""
    number = int(hashlib.sha256(json.dumps(asked.body["messages"]).encode()).hexdigest()[:8], 16)
    if number % 11 == 0:
        return refusal(400, f"the key {KEY} may not ask this")
    if number % 5 == 0 and asked.attempt == 0:
        return CUT if number % 2 else refusal(429)
    return f"I know: {KEY}. <feedback>{'ab?'[number % 3]}</feedback>"


def experiment(tokenizer, url, **settings):
    teacher = Remote(url, "toy", "TOY_KEY", first_pause=0.01, longest_pause=0.02)
    suite = Suite(ToyTask(), (teacher, Retry("a")), problems=4, max_turns=3)
    plain = {"teacher": teacher, "suites": [suite], "checkpoint_every": 1}
    return toy_experiment(tokenizer, [STAGE], **{**plain, **settings})


@pytest.fixture(scope="module")
def whole_run(tokenizer, tmp_path_factory):
    """A running endpoint, a run that nobody stops, and how many requests it took."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_KEY", KEY)
        patch.setenv("NO_PROXY", "127.0.0.1")
        with serving(reply) as stub:
            folder = tmp_path_factory.mktemp("whole") / "run"
            experiment(tokenizer, stub.url).train(folder, "# toy\n")
            yield stub, folder, len(stub.asked)


@pytest.mark.extra
def test_a_run_that_goes_on_after_a_stop_is_the_same_to_the_last_bit(whole_run, tokenizer, tmp_path, monkeypatch):
    """It is stopped in the middle of training, between two checkpoints; what was replied by then is not asked again."""
    stub, whole, request_count = whole_run
    before, sent = len(stub.asked), []
    submit = ChatClient.submit

    def stop_late(self, body):
        sent.append(body)
        if len(sent) == request_count // 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return submit(self, body)

    with monkeypatch.context() as patch:
        patch.setattr(ChatClient, "submit", stop_late)
        with pytest.raises(Stopped):
            experiment(tokenizer, stub.url).train(tmp_path / "run", "# toy\n")
    with (tmp_path / "run" / "replies.jsonl").open("a") as file:
        file.write('{"key": "torn')
    experiment(tokenizer, stub.url).train(tmp_path / "run", "# toy\n")
    assert differences(whole, tmp_path / "run") == []
    assert json.loads((whole / "eval.json").read_text()) == json.loads((tmp_path / "run" / "eval.json").read_text())
    # The same replies were recorded, each once; those of the evaluation's second policy may be the first's.
    records = [read_lines(folder / "replies.jsonl") for folder in (whole, tmp_path / "run")]
    assert sorted(r["key"] for r in records[0]) == sorted(r["key"] for r in records[1])
    assert len({r["key"] for r in records[0]}) == len(records[0]) > 20
    assert len(stub.asked) - before < 1.5 * request_count


def test_the_key_is_in_no_file_of_the_run(whole_run):
    _, folder, _ = whole_run
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"replies.jsonl", "dialogues.jsonl", "metrics.jsonl", "eval.json", "config.gin"} <= {f.name for f in files}
    assert [path for path in files if KEY.encode() in path.read_bytes() or KEY[:16].encode() in path.read_bytes()] == []
    said = (folder / "replies.jsonl").read_text()
    assert "I know: [secret]. <feedback>" in said


def test_what_failed_costs_its_own_dialogue_and_is_counted(whole_run):
    _, folder, _ = whole_run
    dropped = [d for d in read_lines(folder / "dialogues.jsonl") if d["dropped"]]
    assert dropped and all(
        d["dropped"] == "teacher: the endpoint: HTTP 400: the key [secret] may not ask this" for d in dropped
    )
    metrics = read_lines(folder / "metrics.jsonl")
    counts = [
        sum(
            bool(d["dropped"])
            for d in read_lines(folder / "dialogues.jsonl")
            if d["step"] == m["step"] and "suite" not in d
        )
        for m in metrics
    ]
    assert [m["teacher_errors"] for m in metrics] == counts and sum(counts) > 0


def test_a_missing_key_is_an_error_before_anything_is_loaded(tokenizer, tmp_path, monkeypatch):
    monkeypatch.delenv("TOY_KEY")
    run = experiment(tokenizer, "http://127.0.0.1:1/v1")
    with pytest.raises(UserError, match=r"variable TOY_KEY, which Remote\.key_variable names, is not set"):
        run.train(tmp_path / "run", "# toy\n")
    with pytest.raises(UserError, match="TOY_KEY"):
        run.evaluate("pocket", tmp_path / "evaluation", "# toy\n")
    # Whoever evaluates with other arms needs no key of the training's teacher.
    other = dataclasses.replace(run, suites=[Suite(ToyTask(), (Retry(),))])
    with pytest.raises(UserError, match="no model at"):
        other.evaluate(str(tmp_path / "none"), tmp_path / "evaluation", "# toy\n")


def test_it_is_an_object_in_gin_that_names_the_key_by_its_variable(tmp_path):
    recipe = tmp_path / "remote.gin"
    recipe.write_text("""
from __gin__ import dynamic_registration
from sml_jax.run import experiment
from sml_jax.dialogue import teachers
from sml_jax.evaluate import suites
include 'gin/recipes/pocket_math_online.gin'
experiment.Experiment.teacher = @teachers.Remote()
math/suites.Suite.arms = (@teachers.Remote(), @uninformed/teachers.Remote())
teachers.Remote.url = 'http://localhost:8000/v1'
teachers.Remote.model = 'toy'
teachers.Remote.key_variable = 'TOY_KEY'
teachers.Remote.extra = {'top_p': 0.9}
uninformed/teachers.Remote.knows = 'none'
uninformed/teachers.Remote.name = 'remote_uninformed'
""")
    loaded, config = load_experiment([str(recipe)], ["Remote.attempt_seconds=20.0"])
    gin.clear_config()
    assert loaded.teacher == Remote(
        "http://localhost:8000/v1", "toy", "TOY_KEY", extra={"top_p": 0.9}, attempt_seconds=20.0
    )
    assert [arm.knows for arm in loaded.suites[0].arms] == ["own", "none"]
    assert "'TOY_KEY'" in config and KEY not in config


def test_damaged_lines_of_the_record_count_as_missing(tmp_path):
    keys = [hashlib.sha256(bytes([i])).hexdigest() for i in range(4)]
    with RunFolder(tmp_path) as folder:
        replies = RecordedReplies(folder)
        for key in keys[:3]:
            replies.add(key, {"text": f"é{key[:3]}", "truncated": False})
        lines = folder.replies_path.read_bytes().splitlines(keepends=True)
        folder.replies_path.write_bytes(
            lines[0] + b"\0" * 20 + b"\n[1]\n" + lines[1].replace(b'"text"', b'"tex"') + lines[2] + lines[0][:30]
        )
        again = RecordedReplies(folder)
        assert [again.find(key) is not None for key in keys] == [True, False, True, False]
        again.add(keys[3], {"text": "x", "truncated": True})
        assert again.find(keys[3]) == {"key": keys[3], "text": "x", "truncated": True}
        assert RecordedReplies(folder).find(keys[3]) == again.find(keys[3])
        assert RecordedReplies(folder).find(keys[0])["text"] == f"é{keys[0][:3]}"
