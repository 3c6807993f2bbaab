"""Training problems that an evaluation holds too: they are found by their normalised text, left out, and counted."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sml_jax.common.errors import UserError
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict, leaves_one_step

_log = logging.getLogger(__name__)
_MAX_NAMED = 5  # ids in a message
P = TypeVar("P", bound=Problem)
# Quotes, dashes and minus signs that copies of a text differ by.
_SPELLINGS = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2212": "-", "\u2013": "-"})


def normalise_question(question: str) -> str:
    """Normalises a question: lower case, single spaces, straight quotes and plain minus signs, to find copies of it."""
    return " ".join(unicodedata.normalize("NFC", question).translate(_SPELLINGS).casefold().split())


def statements(problem: Problem) -> set[str]:
    """The normalised texts that identify a problem; a set of one text.

    It is the full statement, or else the question with all shards, as a question without them may fit many problems.
    """
    if problem.full:
        return {normalise_question(problem.full)}
    return {normalise_question(" ".join((problem.question, *problem.shards)))}


def without_overlap(
    train: Iterable[P],
    held_out: Iterable[Problem],
    key: Callable[[Problem], set[str]] = statements,
) -> tuple[tuple[P, ...], tuple[P, ...]]:
    """Separates the training problems that are held-out problems too from the others.

    Args:
      train: problems to train on.
      held_out: problems that must not be trained on.
      key: returns the normalised texts that identify a problem. Two problems with a text in common are the same.

    Returns:
      (training problems that remain, training problems that are held out), both in the order of `train`.
    """
    held_out_texts = {text for problem in held_out for text in key(problem)}
    remaining: list[P] = []
    left_out: list[P] = []
    for problem in train:
        (remaining if held_out_texts.isdisjoint(key(problem)) else left_out).append(problem)
    return tuple(remaining), tuple(left_out)


def check_overlap(task: Task, evaluations: Sequence[Task], split: str = "test", train_split: str = "train") -> Task:
    """Leaves training problems out that an evaluation has too; a warning in the log counts and names them.

    Args:
      task: the task to train on.
      evaluations: the tasks to evaluate on; `task` may be among them.
      split: the split that is evaluated, of each of `evaluations`.
      train_split: the split of `task` that is trained on.

    Returns:
      The task without these problems (a `TrimmedTask`), or `task` itself if there are none.

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
    """A task with some problems of one split left out. Implements `Task`; all else is passed on to `task`.

    Attributes:
      task: the original task.
      split: name of the split that is shorter.
      remaining: the problems of that split.
    """

    task: Task
    split: str
    remaining: tuple[Problem, ...]

    def __getattr__(self, name: str) -> Any:
        """What some tasks have in addition, such as the game of an environment, is the original task's."""
        if name.startswith("_") or name == "task":  # also asked for while a copy is made, before there is a task
            raise AttributeError(name)
        return getattr(self.task, name)

    @property
    def name(self) -> str:
        """The original task's name."""
        return self.task.name

    def problems(self, split: str) -> Sequence[Problem]:
        """`remaining` for the shorter split; for any other, the original task's problems."""
        return self.remaining if split == self.split else self.task.problems(split)

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges utterances, as the original task does; see `Task.verify`."""
        return self.task.verify(items)

    def static_knowledge(self, problem: Problem) -> str:
        """What the original task says that only the teacher knows from the start; see `Task.static_knowledge`."""
        return self.task.static_knowledge(problem)

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """What the original task says that only the teacher learns from a verdict; see `Task.dynamic_knowledge`."""
        return self.task.dynamic_knowledge(problem, verdict)

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What the original task's scripted teacher says next; see `Task.reply`."""
        return self.task.reply(problem, conversation, verdict)

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether `teacher_text` gives the answer away, by the original task's test; see `Task.leaks`."""
        return self.task.leaks(problem, teacher_text, public_text)

    def one_step(self, problem: Problem, teacher_text: str, conversation: Sequence[Turn]) -> bool:
        return leaves_one_step(self.task, problem, teacher_text, conversation)
