"""The record of a dialogue in `dialogues.jsonl`."""

import json

from sml_jax.dialogue.records import dialogue_record
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.run.io import RunFolder
from sml_jax.tasks.problems.types import Turn, Verdict

FINISHED = Dialogue(
    problem_id="pocket_math/test/1",
    arm="feedback",
    turns=(Turn("teacher", "2 + 2?"), Turn("student", "5"), Turn("teacher", "no \ud800"), Turn("student", "4")),
    verdicts=(Verdict(False, True, "too high"), Verdict(True, True)),
    solved_turn=2,
    tokens=(1, 7),
    leaks=1,
    one_steps=2,
    overlong=True,
    dropped="verifier: \ud800",
    domain="sums",
    static_knowledge="the answer is 4",
    dynamic_knowledge=("5 is too high",),
)


def test_a_record_holds_all_of_the_dialogue(tmp_path):
    record = dialogue_record(FINISHED, step=3, policy="trained")
    assert record == {
        "problem_id": "pocket_math/test/1",
        "arm": "feedback",
        "policy": "trained",
        "step": 3,
        "domain": "sums",
        "solved_turn": 2,
        "turns": [
            {"role": "teacher", "text": "2 + 2?"},
            {"role": "student", "text": "5"},
            {"role": "teacher", "text": "no \ud800"},
            {"role": "student", "text": "4"},
        ],
        "verdicts": [
            {"correct": False, "attempted": True, "detail": "too high"},
            {"correct": True, "attempted": True, "detail": ""},
        ],
        "private": {"static": "the answer is 4", "by_reply": ["5 is too high"]},
        "leak": True,
        "leaks": 1,
        "one_steps": 2,
        "redactions": 0,
        "injected_turns": [],
        "overlong": True,
        "dropped": "verifier: \ud800",
        "tokens": [1, 7],
    }
    # Any text, even half a surrogate pair from byte fallback, makes the way to the file and back.
    with RunFolder(tmp_path) as folder:
        folder.append_dialogues([record, record])
    assert [json.loads(line) for line in folder.dialogues_path.read_text().splitlines()] == [record, record]
