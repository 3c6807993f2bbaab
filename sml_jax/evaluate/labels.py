"""What the student does with its turns: it answers, asks, hedges, discusses, declines, or repeats itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

from sml_jax.errors import UserError
from sml_jax.evaluate.label_hedges import hedges
from sml_jax.evaluate.label_questions import asked, is_short
from sml_jax.evaluate.label_rules import declines, is_missing
from sml_jax.evaluate.label_text import without_runs
from sml_jax.run.io.dialogues import JudgedDialogue

__all__ = [
    "LABELS",
    "JudgedDialogue",
    "Label",
    "Labeller",
    "behaviour_summary",
    "label_by_rules",
    "label_turn",
    "premature",
    "student_labels",
]

Label = Literal["answer", "clarification", "interrogation", "discussion", "hedge", "refusal", "missing"]
Labeller = Callable[[Sequence[tuple[str, bool]]], Sequence[str]]

LABELS: tuple[Label, ...] = get_args(Label)
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
    """Sorts one student turn by rules; the first that fits counts.

    - missing: it says nothing (empty, symbols, one word over and over).
    - hedge: several answers, or answers on conditions, and it settles on none, whatever the verifier took from it.
    - answer: the verifier found an answer, however it is worded ("is it 42?").
    - interrogation: several questions. clarification: one, in a turn of at most 100 words.
    - refusal: it declines ("I can't", "not enough information") and asks nothing.
    - discussion: the rest: plans, remarks, working without an answer.

    Args:
      utterance: the student's text.
      attempted: the verifier found an answer in it.

    References:
      The turn categories of arXiv 2505.06120, which a language model assigns there.
    """
    utterance = without_runs(utterance.replace("\u2019", "'"))
    if is_missing(utterance):
        return "missing"
    if hedges(utterance):
        return "hedge"
    if attempted:
        return "answer"
    questions = asked(utterance)
    if questions > 1:
        return "interrogation"
    if questions and is_short(utterance):
        return "clarification"
    return "refusal" if not questions and declines(utterance) else "discussion"


def label_by_rules(turns: Sequence[tuple[str, bool]]) -> list[Label]:
    """`label_turn` of each (utterance, attempted): the labeller that needs no model."""
    return [label_turn(utterance, attempted) for utterance, attempted in turns]


def behaviour_summary(
    dialogues: Iterable[JudgedDialogue], labeller: Labeller | None = None
) -> dict[str, dict[str, float | int]]:
    """How often the student answers, asks and repeats an attempt.

    Args:
      dialogues: finished dialogues, of any length.
      labeller: labels all student turns, given as (utterance, attempted), in one call, such as a language model's;
        the rules of `label_turn` if None.

    Returns:
      `first_turns` and `all_turns`, each with fractions of the student turns counted and `n`, their number. `answers`,
      `clarifications`, `interrogations`, `discussions`, `hedges`, `refusals` and `missing` add up to 1; `questions` are
      clarifications and interrogations together. `repeats`: a repeat is an answer whose text (spaces aside) equals that
      of an earlier one in the same dialogue; it is also an answer. A first turn cannot repeat.

    Raises:
      UserError: no student turn at all, or a labeller that returns other labels or another number of them.

    References:
      Premature attempts and clarifying questions: arXiv 2602.16488.
    """
    first: list[tuple[Label, bool]] = []
    every: list[tuple[Label, bool]] = []
    dialogues = list(dialogues)
    for dialogue, labels in zip(dialogues, student_labels(dialogues, labeller), strict=True):
        texts = [text for text, _ in _student_turns(dialogue)]
        labelled = _with_repeats(list(zip(texts, labels, strict=True)))
        first.extend(labelled[:1])
        every.extend(labelled)
    if not every:
        raise UserError("no student turn to describe: evaluate at least one dialogue.")
    return {"first_turns": _fractions(first), "all_turns": _fractions(every)}


def student_labels(dialogues: Sequence[JudgedDialogue], labeller: Labeller | None = None) -> list[list[Label]]:
    """Labels of the student's turns, dialogue by dialogue; all turns are given to the labeller in one call.

    Raises:
      UserError: a labeller that returns other labels or another number of them.
    """
    spoken = [_student_turns(dialogue) for dialogue in dialogues]
    labels = iter(_labels([turn for turns in spoken for turn in turns], labeller or label_by_rules))
    return [[next(labels) for _ in turns] for turns in spoken]


def premature(labels: Sequence[Label], shards_revealed: Sequence[int], total_shards: int) -> int:
    """Counts answers made before every shard has been revealed.

    Args:
      labels: of the student's turns, in order.
      shards_revealed: how many shards the student had been shown when it spoke, turn by turn.
      total_shards: how many there are.

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
    given = list(labeller(turns)) if turns else []
    if len(given) != len(turns):
        raise UserError(f"labeller: {len(given)} labels for {len(turns)} turns; it must give one each")
    by_name: dict[str, Label] = {label: label for label in LABELS}
    unknown = [label for label in given if label not in by_name]
    if unknown:
        raise UserError(f"labeller: {unknown[0]!r} is no label; give one of {', '.join(LABELS)}")
    return [by_name[label] for label in given]


def _student_turns(dialogue: JudgedDialogue) -> list[tuple[str, bool]]:
    """Text and "attempted" of each student turn."""
    texts = [turn.text for turn in dialogue.turns if turn.role == "student"]
    return [(text, verdict.attempted) for text, verdict in zip(texts, dialogue.verdicts, strict=True)]


def _with_repeats(turns: Sequence[tuple[str, Label]]) -> list[tuple[Label, bool]]:
    """Label and "is a repeat" of each student turn of one dialogue."""
    answers: set[str] = set()
    labelled: list[tuple[Label, bool]] = []
    for text, label in turns:
        words = " ".join(text.split())
        labelled.append((label, label == "answer" and words in answers))
        if label == "answer":
            answers.add(words)
    return labelled


def _fractions(turns: Sequence[tuple[Label, bool]]) -> dict[str, float | int]:
    n = len(turns)
    counts = {label: sum(each == label for each, _ in turns) for label in LABELS}
    return {
        **{name: counts[label] / n for label, name in _FRACTIONS.items()},
        "questions": (counts["clarification"] + counts["interrogation"]) / n,
        "repeats": sum(repeat for _, repeat in turns) / n,
        "n": n,
    }
