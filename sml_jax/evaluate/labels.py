"""What the student does with its turns: it answers, asks, hedges, discusses, declines, or repeats itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.evaluate.label_hedges import hedges
from sml_jax.evaluate.label_questions import count_questions, is_short
from sml_jax.evaluate.label_rules import declines, is_missing
from sml_jax.evaluate.label_text import without_runs

__all__ = [
    "LABELS",
    "Label",
    "Labeller",
    "behaviour_summary",
    "count_premature",
    "label_by_rules",
    "label_turn",
    "student_labels",
]

Label = Literal["answer", "clarification", "interrogation", "discussion", "hedge", "refusal", "missing"]
# Takes (utterance, whether the verifier found an answer in it) of many turns, and returns a label for each.
Labeller = Callable[[Sequence[tuple[str, bool]]], Sequence[str]]

LABELS: tuple[Label, ...] = get_args(Label)
# The names of their fractions in `eval.json`.
_FRACTIONS: dict[Label, str] = {
    "answer": "answers",
    "clarification": "clarifications",
    "interrogation": "interrogations",
    "discussion": "discussions",
    "hedge": "hedges",
    "refusal": "refusals",
    "missing": "missing",
}


def label_turn(utterance: str, attempted: bool) -> Label:
    """Labels one student turn by rules. The first label of this list whose rule applies is returned:

    - missing: the turn says nothing (empty, symbols, one word over and over).
    - hedge: it offers several answers, or answers on conditions, and does not choose, whatever the verifier found.
    - answer: the verifier found an answer in it, however it is worded ("is it 42?").
    - interrogation: it asks several questions. clarification: it asks one, in at most 100 words.
    - refusal: it declines ("I can't", "not enough information") and asks nothing.
    - discussion: any other turn, such as plans, remarks, and working without an answer.

    Args:
      utterance: the student's text.
      attempted: whether the verifier found an answer in it.

    References:
      arXiv 2505.06120 for the categories, which a language model assigns there.
    """
    # Both apostrophes are one to the rules.
    utterance = without_runs(utterance.replace("\u2019", "'"))
    if is_missing(utterance):
        return "missing"
    # Before "answer": a verifier may take one of several answers that were offered.
    if hedges(utterance):
        return "hedge"
    if attempted:
        return "answer"
    questions = count_questions(utterance)
    if questions > 1:
        return "interrogation"
    if questions and is_short(utterance):
        return "clarification"
    return "refusal" if not questions and declines(utterance) else "discussion"


def label_by_rules(turns: Sequence[tuple[str, bool]]) -> list[Label]:
    """The labels of (utterance, attempted) pairs by `label_turn`, in order: the `Labeller` without a model."""
    return [label_turn(utterance, attempted) for utterance, attempted in turns]


def behaviour_summary(
    dialogues: Iterable[Dialogue], labeller: Labeller | None = None
) -> dict[str, dict[str, float | int]]:
    """How often the student answers, asks and repeats an attempt.

    Args:
      dialogues: finished dialogues, of any length.
      labeller: labels all student turns in one call, such as a language model; None for the rules of `label_turn`.

    Returns:
      {`first_turns`: ..., `all_turns`: ...}, where `first_turns` is about the first student turn of each dialogue. Each
      holds `n`, the number of these turns, and fractions of them: `answers`, `clarifications`, `interrogations`,
      `discussions`, `hedges`, `refusals` and `missing`, which add up to 1; `questions`, which are clarifications and
      interrogations together; and `repeats`, which are answers whose text (spaces aside) equals that of an earlier
      answer in the same dialogue.

    Raises:
      UserError: there is no student turn, or the labeller returns unknown labels or a wrong number of them.

    References:
      Premature attempts and clarifying questions: arXiv 2602.16488.
    """
    first_turns: list[tuple[Label, bool]] = []
    all_turns: list[tuple[Label, bool]] = []
    dialogues = list(dialogues)
    for dialogue, labels in zip(dialogues, student_labels(dialogues, labeller), strict=True):
        texts = [text for text, _ in _student_turns(dialogue)]
        labelled = _with_repeats(list(zip(texts, labels, strict=True)))
        first_turns.extend(labelled[:1])
        all_turns.extend(labelled)
    if not all_turns:
        raise UserError("no student turn to describe: evaluate at least one dialogue.")
    return {"first_turns": _fractions(first_turns), "all_turns": _fractions(all_turns)}


def student_labels(dialogues: Sequence[Dialogue], labeller: Labeller | None = None) -> list[list[Label]]:
    """Labels of the student's turns: a list for each dialogue, in order.

    Args:
      dialogues: finished dialogues.
      labeller: labels all turns in one call; None for the rules of `label_turn`.

    Raises:
      UserError: the labeller returns unknown labels or a wrong number of them.
    """
    turns_by_dialogue = [_student_turns(dialogue) for dialogue in dialogues]
    labels = iter(_labels([turn for turns in turns_by_dialogue for turn in turns], labeller or label_by_rules))
    return [[next(labels) for _ in turns] for turns in turns_by_dialogue]


def count_premature(labels: Sequence[Label], shards_revealed: Sequence[int], total_shards: int) -> int:
    """Counts answers that the student gave before every shard had been revealed.

    Args:
      labels: of the student's turns, in order.
      shards_revealed: how many shards the student had been told when it took each turn.
      total_shards: how many shards the problem has, the first included.

    Returns:
      The number of turns labelled "answer" with fewer than `total_shards` revealed. A hedge is no attempt.

    Raises:
      UserError: the two sequences differ in length.

    References:
      Premature answer attempts on sharded tasks: arXiv 2505.06120 and 2602.16488.
    """
    if len(labels) != len(shards_revealed):
        raise UserError(f"premature attempts: {len(labels)} labels for {len(shards_revealed)} turns; give one each")
    return sum(
        label == "answer" and revealed < total_shards for label, revealed in zip(labels, shards_revealed, strict=True)
    )


def _labels(turns: Sequence[tuple[str, bool]], labeller: Labeller) -> list[Label]:
    """The labeller's labels, after a check of what it returned."""
    labels = list(labeller(turns)) if turns else []
    if len(labels) != len(turns):
        raise UserError(f"labeller: {len(labels)} labels for {len(turns)} turns; it must give one each")
    # The labels of a labeller are any strings, and must be ours.
    by_name: dict[str, Label] = {label: label for label in LABELS}
    unknown_labels = [label for label in labels if label not in by_name]
    if unknown_labels:
        raise UserError(f"labeller: {unknown_labels[0]!r} is no label; give one of {', '.join(LABELS)}")
    return [by_name[label] for label in labels]


def _student_turns(dialogue: Dialogue) -> list[tuple[str, bool]]:
    """The text of each student turn, and whether the verifier found an answer in it."""
    texts = [turn.text for turn in dialogue.turns if turn.role == "student"]
    return [(text, verdict.attempted) for text, verdict in zip(texts, dialogue.verdicts, strict=True)]


def _with_repeats(turns: Sequence[tuple[str, Label]]) -> list[tuple[Label, bool]]:
    """The label of each student turn of one dialogue, and whether the turn repeats an earlier answer."""
    earlier_answers: set[str] = set()
    labelled: list[tuple[Label, bool]] = []
    for text, label in turns:
        # Spaces aside, for a student may break its lines otherwise.
        text_with_single_spaces = " ".join(text.split())
        labelled.append((label, label == "answer" and text_with_single_spaces in earlier_answers))
        if label == "answer":
            earlier_answers.add(text_with_single_spaces)
    return labelled


def _fractions(turns: Sequence[tuple[Label, bool]]) -> dict[str, float | int]:
    """Fractions of turns given as (label, whether it is a repeat); see `behaviour_summary`."""
    n = len(turns)
    counts = {label: sum(turn_label == label for turn_label, _ in turns) for label in LABELS}
    return {
        **{name: counts[label] / n for label, name in _FRACTIONS.items()},
        "questions": (counts["clarification"] + counts["interrogation"]) / n,
        "repeats": sum(repeat for _, repeat in turns) / n,
        "n": n,
    }
