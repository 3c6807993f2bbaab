"""Training problems that an evaluation holds too: they are found by their normalised text, left out, and counted."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sml_jax.common.errors import UserError
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

_log = logging.getLogger(__name__)
_MAX_NAMED = 5  # ids in a message
P = TypeVar("P", bound=Problem)
# Quotes, dashes and minus signs that copies of a text differ by.
_SPELLINGS = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2212": "-", "\u2013": "-"})


def normalise_question(question: str) -> str:
    """The spelling that copies of a question share: lower case, single spaces, straight quotes, plain minus signs."""
    return " ".join(unicodedata.normalize("NFC", question).translate(_SPELLINGS).casefold().split())


def statements(problem: Problem) -> set[str]:
    """The normalised texts that identify a problem: what says all of it by itself.

    That is its full statement, or the question with all shards: without them a question may fit many problems.
    """
    if problem.full:
        return {normalise_question(problem.full)}
    return {normalise_question(" ".join((problem.question, *problem.shards)))}


def without_overlap(
    train: Iterable[P],
    held_out: Iterable[Problem],
    key: Callable[[Problem], set[str]] = statements,
) -> tuple[tuple[P, ...], tuple[P, ...]]:
    """Separates training problems from those that are held out.

    Args:
      train: problems to train on.
      held_out: problems that must not be among them.
      key: the normalised texts that identify a problem; two problems with a text in common are the same.

    Returns:
      The problems to train on, and those left out, both in order.
    """
    held_out_texts = {text for problem in held_out for text in key(problem)}
    remaining: list[P] = []
    left_out: list[P] = []
    for problem in train:
        (remaining if held_out_texts.isdisjoint(key(problem)) else left_out).append(problem)
    return tuple(remaining), tuple(left_out)


def check_overlap(task: Task, evaluations: Sequence[Task], split: str = "test", train_split: str = "train") -> Task:
    """Leaves out training problems that an evaluation holds too. They are counted and named in a warning.

    Args:
      task: to train on.
      evaluations: the tasks to evaluate on, `task` itself among them or not.
      split: the split of `evaluations` that is evaluated on.
      train_split: the split of `task` that is trained on.

    Returns:
      A task without these problems; `task` itself where there are none.

    Raises:
      UserError: nothing would be left to train on.
    """
    train = task.problems(train_split)
    held_out = (problem for evaluation in evaluations for problem in evaluation.problems(split))
    remaining, left_out = without_overlap(train, held_out)
    if not left_out:
        return task
    names = ", ".join(sorted({evaluation.name for evaluation in evaluations}))
    ids = ", ".join(problem.id for problem in left_out[:_MAX_NAMED]) + (", ..." if len(left_out) > _MAX_NAMED else "")
    if not remaining:
        raise UserError(
            f"every one of the {len(train)} {train_split} problems of {task.name} is in the evaluation ({names}) too: "
            "train on other problems, or evaluate on others"
        )
    _log.warning(
        "%s: left out %d of %d training problems that the evaluation (%s) holds too: %s",
        task.name,
        len(left_out),
        len(train),
        names,
        ids,
    )
    return TrimmedTask(task, train_split, remaining)


@dataclass(frozen=True)
class TrimmedTask:
    """A task with fewer problems in one split.

    Attributes:
      task: answers for everything else.
      split: the split with fewer problems.
      remaining: the problems of that split.
    """

    task: Task
    split: str
    remaining: tuple[Problem, ...]

    @property
    def name(self) -> str:
        return self.task.name

    def problems(self, split: str) -> Sequence[Problem]:
        return self.remaining if split == self.split else self.task.problems(split)

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
