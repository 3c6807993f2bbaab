import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.evaluate import behaviour_summary, label_turn
from sml_jax.evaluate.labels import LABELS, count_premature, label_by_rules
from sml_jax.tasks.problems.types import Turn, Verdict


def dialogue(*student: tuple[str, bool]) -> Dialogue:
    """Student turns as (text, attempted), each after a teacher's."""
    turns = [turn for text, _ in student for turn in (Turn("teacher", "no, why?"), Turn("student", text))]
    verdicts = tuple(Verdict(False, attempted) for _, attempted in student)
    return Dialogue("p", "feedback", tuple(turns), verdicts, 0, ())


@pytest.mark.parametrize(
    ("utterance", "attempted", "label"),
    [
        ("the answer is 4 1 2", True, "answer"),
        ("is it 42?", True, "answer"),
        ("what is part 2?", False, "clarification"),
        ("what is part 2", False, "clarification"),
        ("I am stuck. Could you tell me the third part", False, "clarification"),
        ("What is part 2? I need it to go on.", False, "clarification"),
        ('so x is missing (which one?)  "', False, "clarification"),
        ("What's missing", False, "clarification"),
        ("what is part 1? what is part 2?", False, "interrogation"),
        ("Please tell me:\n1. the price\n2. the number", False, "interrogation"),
        ("when x is 3, y is 4", False, "discussion"),
        ("which gives four", False, "discussion"),
        ("let me think", False, "discussion"),
        (" ".join(f"row{i}" for i in range(120)) + ". Is it so?", False, "discussion"),
        ("either 5 or 6", True, "hedge"),  # whatever the verifier took from it
        ("Either way it is 3. The answer is 3.", True, "answer"),
        ("I don\u2019t know.", False, "refusal"),
        ("I don't know. What is the price?", False, "clarification"),
        ("I don't know, so I try 7", True, "answer"),
        ("", False, "missing"),
        ("", True, "missing"),
        ("\u7b54\u6848\u662f\u4ec0\u4e48", False, "discussion"),  # another script is not gibberish
    ],
)
def test_labels(utterance, attempted, label):
    assert label_turn(utterance, attempted) == label


TURNS = [json.loads(line) for line in (Path(__file__).parent / "labelled_turns.jsonl").read_text("utf-8").splitlines()]


def test_agreement_with_turns_labelled_by_hand():
    assert len({turn["text"] for turn in TURNS}) == len(TURNS) >= 150
    assert min(sum(turn["label"] == label for turn in TURNS) for label in LABELS) >= 15
    given_labels = label_by_rules([(turn["text"], turn["attempted"]) for turn in TURNS])
    wrong = [(turn, label) for turn, label in zip(TURNS, given_labels, strict=True) if label != turn["label"]]
    for turn, label in wrong:
        print(f"{turn['label']}, labelled {label}:", json.dumps(turn["text"], ensure_ascii=False))
    print(f"{len(TURNS)} turns: agreement {1 - len(wrong) / len(TURNS):.3f}")
    assert len(wrong) <= 0.05 * len(TURNS)


@given(st.text(), st.booleans())
def test_any_turn_gets_a_label(utterance, attempted):
    assert label_turn(utterance, attempted) in LABELS


WORDS = (
    *[
        "if",
        "either",
        "or",
        "maybe",
        "5",
        "6",
        "?",
        ".",
        ",",
        ":",
        "then",
        "what",
        "is",
        "it",
        "-",
        "1.",
        "please",
        "tell",
        "me",
        "you",
        "we",
        "i",
        "can't",
        "```",
    ],
    "\n",
)


@given(st.lists(st.sampled_from(WORDS), max_size=40), st.booleans())
def test_labels_agree_with_the_verifier(parts, attempted):
    """An attempt is an answer, a hedge or missing; only an attempt is an answer."""
    label = label_turn(" ".join(parts), attempted)
    assert (label == "answer") <= attempted
    assert not attempted or label in ("answer", "hedge", "missing")


def test_behaviour_by_hand():
    summary = behaviour_summary(
        [
            dialogue(("1 2", True), ("1  2 ", True), ("what is part 1?", False), ("1 3", True), ("1 2", True)),
            dialogue(("what is part 1?", False), ("what is part 1? is it 3?", False)),
            dialogue(("1 2", True)),
            dialogue(("either 3 or 4", True), ("I give up", False), ("", False), ("either 3 or 4", True)),
        ]
    )
    none = dict.fromkeys(("clarifications", "interrogations", "discussions", "hedges", "refusals", "missing"), 0.0)
    assert summary["first_turns"] == none | {
        "answers": 2 / 4,
        "clarifications": 1 / 4,
        "hedges": 1 / 4,
        "questions": 1 / 4,
        "repeats": 0.0,
        "n": 4,
    }
    # 12 turns: 5 answers, of which two repeat "1 2" of their own dialogue; a hedge made again is no repeat.
    assert summary["all_turns"] == none | {
        "answers": 5 / 12,
        "clarifications": 2 / 12,
        "interrogations": 1 / 12,
        "hedges": 2 / 12,
        "refusals": 1 / 12,
        "missing": 1 / 12,
        "questions": 3 / 12,
        "repeats": 2 / 12,
        "n": 12,
    }


def test_another_labeller_may_stand_in_for_the_rules():
    asked = []

    def says_refusal(turns):
        asked.append(list(turns))
        return ["refusal"] * len(turns)

    two = [dialogue(("1", True), ("2", False)), dialogue(("3", True))]
    summary = behaviour_summary(two, says_refusal)
    assert asked == [[("1", True), ("2", False), ("3", True)]], "one call for all turns, in order"
    assert summary["all_turns"]["refusals"] == 1 and summary["all_turns"]["answers"] == 0
    with pytest.raises(UserError, match="2 labels for 3 turns"):
        behaviour_summary(two, lambda turns: ["refusal"] * 2)
    with pytest.raises(UserError, match="'refuse' is no label; give one of answer, "):
        behaviour_summary(two, lambda turns: ["refuse"] * 3)


def test_premature_answers():
    assert count_premature(["answer", "clarification", "hedge", "answer", "answer"], [1, 2, 2, 2, 3], 3) == 2
    assert count_premature(["answer"], [1], 1) == count_premature([], [], 4) == 0
    with pytest.raises(UserError, match="1 labels for 2 turns"):
        count_premature(["answer"], [1, 2], 2)


def test_nothing_to_describe():
    with pytest.raises(UserError, match="no student turn"):
        behaviour_summary([])


FRACTIONS = ("answers", "clarifications", "interrogations", "discussions", "hedges", "refusals", "missing")


@given(
    st.lists(st.lists(st.tuples(st.text(max_size=8), st.booleans()), min_size=1, max_size=5), min_size=1, max_size=5)
)
def test_fractions_are_fractions(conversations):
    summary = behaviour_summary([dialogue(*student) for student in conversations])
    assert summary["first_turns"]["repeats"] == 0
    for part in summary.values():
        assert 0 <= part["repeats"] <= part["answers"] <= 1
        assert abs(sum(part[name] for name in FRACTIONS) - 1) < 1e-12
        assert abs(part["clarifications"] + part["interrogations"] - part["questions"]) < 1e-12


@pytest.mark.parametrize("unit", ["1", "\n", "1.", "%`", " if", "\n\nan", "either 1 ", "depending on 1 "])
def test_one_thing_again_and_again_is_labelled_at_once(unit):
    """What a model that has gone wrong says. 4,096 ones took fourteen seconds, 20,000 five minutes."""
    start = time.process_time()
    assert label_turn(unit * (20_000 // len(unit)), False) in LABELS
    assert time.process_time() - start < 2
