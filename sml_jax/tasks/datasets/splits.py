"""Which problems of a source are used, and on which side of the split."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sml_jax.common.errors import UserError, at_least
from sml_jax.tasks.problems.overlap import normalise_question, statements, without_overlap
from sml_jax.tasks.problems.types import Problem

_log = logging.getLogger(__name__)
P = TypeVar("P", bound=Problem)


@dataclass(frozen=True)
class Selection:
    """Which of a source's problems to use.

    The longest problem sets the length of every context, and with it memory and speed, so a few overlong problems cost
    much.

    Attributes:
      limit: at most this many problems a split, the first ones; None for all.
      max_question_characters: a problem whose question or full statement is longer is left out and counted.
      max_solution_characters: the same for its worked solution, which a teacher may have to read.
    """

    limit: int | None = None
    max_question_characters: int | None = None
    max_solution_characters: int | None = None

    def __post_init__(self) -> None:
        at_least(self, limit=1, max_question_characters=1, max_solution_characters=1)


ALL = Selection()


def select(
    name: str,
    splits: Mapping[str, Sequence[P]],
    selection: Selection = ALL,
    key: Callable[[Problem], set[str]] = statements,
) -> dict[str, tuple[P, ...]]:
    """Selects the problems of a source: without doubles and overlong ones, none to train on that is held out.

    What is left out is counted in the log, apart from what lies past `selection.limit`.

    Args:
      name: of the source, for the log.
      splits: problems by split.
      selection: what is wanted.
      key: the normalised texts that identify a problem, see `without_overlap`.

    Returns:
      The selected problems by split, in the order given.
    """
    unique = {split: _unique(f"{name} {split}", problems) for split, problems in splits.items()}
    fitting = {split: _fitting(f"{name} {split}", problems, selection) for split, problems in unique.items()}
    # A training problem that any other split states goes, even where that split leaves it out itself.
    train = fitting.get("train", ())
    held_out = [problem for split, problems in splits.items() if split != "train" for problem in problems]
    remaining, left_out = without_overlap(train, held_out, key)
    if left_out:
        _log.warning("%s: left out %d training problems that another split holds too", name, len(left_out))
        fitting["train"] = remaining
    return {split: problems[: selection.limit] for split, problems in fitting.items()}


def _unique(label: str, problems: Sequence[P]) -> tuple[P, ...]:
    """The first problem of each id: upstream files may overlap."""
    by_id: dict[str, P] = {}
    for problem in problems:
        by_id.setdefault(problem.id, problem)
    if len(by_id) < len(problems):
        _log.warning("%s: left out %d problems whose id another has", label, len(problems) - len(by_id))
    return tuple(by_id.values())


def _fitting(label: str, problems: Sequence[P], selection: Selection) -> tuple[P, ...]:
    """The problems whose texts are within the selection's limits."""
    question, solution = selection.max_question_characters, selection.max_solution_characters
    fitting = tuple(
        problem
        for problem in problems
        if (question is None or max(len(problem.question), len(problem.full)) <= question)
        and (solution is None or len(problem.solution) <= solution)
    )
    if len(fitting) < len(problems):
        limits = [
            f"{count} characters of {field}"
            for count, field in ((question, "question"), (solution, "solution"))
            if count
        ]
        _log.warning(
            "%s: left out %d of %d problems longer than %s",
            label,
            len(problems) - len(fitting),
            len(problems),
            " or ".join(limits),
        )
    return fitting


def split_by_hash(problems: Iterable[P], test_fraction: float | int) -> dict[str, tuple[P, ...]]:
    """Splits problems into "train" and "test" by a hash of each question, so that no other problem has a say in it.

    Args:
      problems: of one source.
      test_fraction: about this share goes to test; 0 leaves all to train, 1 all to test.

    Raises:
      UserError: `test_fraction` is not between 0 and 1.
    """
    if not 0.0 <= test_fraction <= 1.0:
        raise UserError(f"test_fraction is {test_fraction}: give a number from 0 to 1")
    sides: dict[str, list[P]] = {"train": [], "test": []}
    for problem in problems:
        sides["test" if hash_position(problem.question) < test_fraction else "train"].append(problem)
    return {split: tuple(side) for split, side in sides.items()}


def split_by_count(problems: Sequence[P], test_problems: int) -> dict[str, tuple[P, ...]]:
    """Splits problems into "train" and "test", both in an order that does not go by topic as a file's may.

    Args:
      problems: of one source.
      test_problems: how many go to test, those whose text has the lowest hash; more where equal texts would be divided.

    Raises:
      UserError: there are not more problems than that.
    """
    if not 0 <= test_problems < len(problems):
        raise UserError(f"test_problems is {test_problems}, of {len(problems)} problems: leave some to train on")
    order = in_hash_order(problems)
    # Equal texts go to one side.
    cut = test_problems
    while 0 < cut < len(order) and hash_position(order[cut].question) == hash_position(order[cut - 1].question):
        cut += 1
    return {"train": order[cut:], "test": order[:cut]}


def in_hash_order(problems: Iterable[P]) -> tuple[P, ...]:
    """The problems in the order of the hashes of their questions: in_hash_order, and the same in every run."""
    return tuple(sorted(problems, key=lambda problem: hash_position(problem.question)))


def hash_position(question: str) -> float:
    """A number in [0, 1) for a question, by the hash of its normalised text."""
    digest = hashlib.sha256(normalise_question(question).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
