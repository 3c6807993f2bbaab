"""What the report reads: whole files, damaged ones, missing ones, and logs that are too long."""

import json

import pytest
from report_toys import EVALUATION, METRICS, entry, record, write_run

from sml_jax.common.errors import UserError
from sml_jax.evaluate.labels import LABELS
from sml_jax.report.run_files import read_runs


def read(folder, max_dialogues=100):
    (run,) = read_runs([folder], max_dialogues)
    return run


def test_a_whole_run_is_read_without_a_note(tmp_path):
    sharded = {"toy": {"base": {"full": {"scripted": {"P": 50.0}}}}}
    claims = [{"claim": "C1", "holds": True}]
    folder = write_run(
        tmp_path / "run",
        evaluation={**EVALUATION, "sharded_suites": sharded},
        metrics=METRICS,
        dialogues=[record(), record(policy="trained")],
        claims=claims,
    )
    run = read(folder)
    assert (run.name, run.metrics, run.evaluation, run.sharded) == ("run", METRICS, EVALUATION, sharded)
    assert run.claims == claims and run.notes == []
    base, trained = run.dialogues
    assert base | {"policy": "trained"} == trained
    assert base == {
        "problem": "p1", "arm": "feedback", "policy": "base", "suite": "toy", "domain": "sums", "user": "", "step": 4,
        "solved": 2, "roles": "tsts", "texts": ["2 + 2?", "is it even?", "it is", "the answer is 4"],
        "verdicts": "nc", "details": ["want 4", ""],
        "labels": [LABELS.index("clarification"), LABELS.index("answer")],
        "leaks": 0, "dropped": "", "private": {"static": "the answer is 4", "by_reply": ["want 4"]},
    }  # fmt: skip


def test_what_is_missing_is_noted(tmp_path):
    run = read(write_run(tmp_path, metrics=METRICS))
    assert run.notes == [
        "There is no eval.json: the run has not been evaluated yet.",
        "There is no dialogues.jsonl, so there are no dialogues to read.",
    ]


@pytest.mark.parametrize(
    ("file", "content", "note"),
    [
        ("eval.json", b'{"toy": {', "eval.json is damaged (it is no JSON text), so nothing of it is shown."),
        ("eval.json", b"\xff\xfe", "eval.json is damaged (it is no JSON text), so nothing of it is shown."),
        ("eval.json", b"[" * 100_000, "eval.json is damaged (it is no JSON text), so nothing of it is shown."),
        ("eval.json", b"[1]", "eval.json is no JSON object, so nothing of it is shown."),
        ("claims.json", b"{", "claims.json is damaged (it is no JSON text), so nothing of it is shown."),
        (
            "metrics.jsonl",
            b'{"step": 1}\n{"step": \n[]\n{"step": "2"}\n\n',
            "3 of the lines of metrics.jsonl cannot be read, the first of them line 2; they are left out.",
        ),
        (
            "dialogues.jsonl",
            b"not json\n" + json.dumps(record()).encode() + b"\n\xff\n" + json.dumps(record()).encode()[:50],
            "3 of the lines of dialogues.jsonl are no dialogues, the first of them line 1; they are left out.",
        ),
    ],
)
def test_damage_is_noted_and_the_rest_is_shown(tmp_path, file, content, note):
    folder = write_run(tmp_path, evaluation=EVALUATION, metrics=METRICS, dialogues=[record()])
    (folder / file).write_bytes(content)
    run = read(folder)
    assert run.notes == [note]
    assert len(run.dialogues) == 1 and run.metrics


@pytest.mark.parametrize(
    "damage",
    [
        {"turns": None}, {"turns": [{"role": "judge", "text": ""}]}, {"turns": [{"role": "student", "text": 3}]},
        {"verdicts": {}}, {"verdicts": [{"correct": True}]}, {"problem_id": 7}, {"arm": None}, {"solved_turn": "2"},
    ],
)  # fmt: skip
def test_a_line_without_what_every_dialogue_has_is_left_out(tmp_path, damage):
    run = read(write_run(tmp_path, evaluation=EVALUATION, metrics=METRICS, dialogues=[record(), record(**damage)]))
    assert len(run.dialogues) == 1 and "the first of them line 2" in run.notes[0]


@pytest.mark.parametrize(
    "bad",
    [
        {}, 3, None, entry(), {"success_at_turn": "high"}, {"success_at_turn": [0.5, None]},
        {"success_at_turn": [True]}, entry(0.5, ci95=[]), entry(0.5, ci95=[[0.1]]), entry(0.5, ci95=[["a", "b"]]),
    ],
)  # fmt: skip
def test_an_entry_without_success_by_turn_is_left_out(tmp_path, bad):
    evaluation = {"toy": {"base": {"feedback": entry(0.5), "retry": bad}, "trained": []}}
    run = read(write_run(tmp_path, evaluation=evaluation, metrics=METRICS, dialogues=[]))
    assert run.evaluation == {"toy": {"base": {"feedback": entry(0.5)}}}
    assert run.notes == [
        "1 of the entries of eval.json have no success by turn, the first of them toy base retry; they are left out."
    ]


def test_of_a_long_log_whole_problems_are_kept_those_of_the_evaluation_first(tmp_path):
    training = [record(suite=None, policy="student", step=step, problem_id=f"t{step}") for step in (1, 1, 2, 2)]
    evaluation = [record(policy=policy, problem_id=name) for policy in ("base", "trained") for name in ("a", "b")]
    folder = write_run(tmp_path, evaluation=EVALUATION, metrics=METRICS, dialogues=[*training, *evaluation])
    kept = {
        number: [(d["problem"], d["policy"]) for d in read(folder, number).dialogues] for number in (0, 1, 3, 4, 6, 8)
    }
    of_a, of_b = [("a", "base"), ("a", "trained")], [("a", "base"), ("b", "base"), ("a", "trained"), ("b", "trained")]
    newest = [("t2", "student")] * 2
    assert (kept[0], kept[1], kept[3], kept[4]) == ([], [], of_a, of_b)
    assert kept[6] == [*newest, *of_b] and len(kept[8]) == 8
    assert read(folder, 3).notes == [
        "2 of 8 dialogues can be read here, those of the evaluation first; --dialogues=N takes in more."
    ]


def test_folders_that_cannot_be_told_apart_or_read_are_one_line_errors(tmp_path):
    run = write_run(tmp_path / "a" / "seed0", metrics=METRICS)
    other = write_run(tmp_path / "b" / "seed0", metrics=METRICS)
    assert [one.name for one in read_runs([run, other], 10)] == [str(run), str(other)]
    (tmp_path / "empty").mkdir()
    for folders, message in (
        ([run, tmp_path / "a" / ".." / "a" / "seed0"], "is given twice: give each run's folder once"),
        ([tmp_path / "gone"], "gone: give --workdir the folder of a run"),
        ([tmp_path / "empty"], "holds none of eval.json, metrics.jsonl, dialogues.jsonl, claims.json"),
    ):
        with pytest.raises(UserError, match=message):
            read_runs(folders, 10)
