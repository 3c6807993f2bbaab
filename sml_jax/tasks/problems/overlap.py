"""Training problems that an evaluation holds too: found by their normalised text, left out, and counted."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sml_jax.common.errors import UserError
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

_log = logging.getLogger(__name__)
_MOST_NAMED = 5
P = TypeVar("P", bound=Problem)
_SPELLINGS = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2212": "-", "\u2013": "-"})


def normalise_question(question: str) -> str:
    """Spelling that copies of a question share: one case, single spaces, straight quotes, plain minus signs."""
    return " ".join(unicodedata.normalize("NFC", question).translate(_SPELLINGS).casefold().split())


def statements(problem: Problem) -> set[str]:
    """The normalised texts that state a problem by themselves.

    That is its full statement; or the question, which of a problem with shards says too little to tell it by.
    """
    if problem.full:
        return {normalise_question(problem.full)}
    return {normalise_question(" ".join((problem.question, *problem.shards)))}


def without_overlap(
    train: Iterable[P],
    held_out: Iterable[Problem],
    key: Callable[[Problem], set[str]] = statements,
) -> tuple[tuple[P, ...], tuple[P, ...]]:
    """Parts training problems from those that the held-out ones state too.

    Args:
      key: the normalised texts that tell a problem.

    Returns:
      The problems to train on, and those left out, both in order.
    """
    seen = {text for problem in held_out for text in key(problem)}
    kept: list[P] = []
    left: list[P] = []
    for problem in train:
        (kept if seen.isdisjoint(key(problem)) else left).append(problem)
    return tuple(kept), tuple(left)


def check_overlap(task: Task, evaluations: Sequence[Task], split: str = "test", train_split: str = "train") -> Task:
    """A task whose training problems are in no evaluation; the very task given where they were not from the start.

    What is left out is counted and named in a warning.

    Args:
      task: to train on.
      evaluations: the tasks to evaluate on, `task` itself among them or not. split: of theirs.
      train_split: of `task`.

    Raises:
      UserError: nothing would be left to train on.
    """
    train = task.problems(train_split)
    held_out = (problem for evaluation in evaluations for problem in evaluation.problems(split))
    kept, left = without_overlap(train, held_out)
    if not left:
        return task
    names = ", ".join(sorted({evaluation.name for evaluation in evaluations}))
    ids = ", ".join(problem.id for problem in left[:_MOST_NAMED]) + (", ..." if len(left) > _MOST_NAMED else "")
    if not kept:
        raise UserError(
            f"every one of the {len(train)} {train_split} problems of {task.name} is in the evaluation ({names}) too: "
            "train on other problems, or evaluate on others"
        )
    _log.warning(
        "%s: left out %d of %d training problems that the evaluation (%s) holds too: %s",
        task.name,
        len(left),
        len(train),
        names,
        ids,
    )
    return TrimmedTask(task, train_split, kept)


@dataclass(frozen=True)
class TrimmedTask:
    """A task with fewer problems in one split.

    Attributes:
      task: everything else is as there. split: the one. kept: its problems.
    """

    task: Task
    split: str
    kept: tuple[Problem, ...]

    @property
    def name(self) -> str:
        return self.task.name

    def problems(self, split: str) -> Sequence[Problem]:
        return self.kept if split == self.split else self.task.problems(split)

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        return self.task.verify(items)

    def static_knowledge(self, problem: Problem) -> str:
        return self.task.static_knowledge(problem)

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        return self.task.dynamic_knowledge(problem, verdict)

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        return self.task.reply(problem, conversation, verdict)

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        return self.task.leaks(problem, teacher_text, public_text)
