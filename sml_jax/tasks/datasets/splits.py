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
    """Limits on the number and length of the problems that are used.

    The longest problem decides the length of all contexts, and so memory and speed: a few very long ones cost much.

    Attributes:
      limit: the most problems of each split; the first ones are taken. None for all.
      max_question_characters: problems whose question or full statement is longer are left out and counted in the log;
        None for no limit.
      max_solution_characters: the same for the worked solution, which a teacher may have to read.
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
    """Selects a source's problems: without duplicates, without very long ones, and with disjoint splits.

    A problem of "train" that any other split has too is left out of "train". Problems that are left out are counted in
    the log, except those beyond `selection.limit`.

    Args:
      name: of the source, for the log.
      splits: problems by split.
      selection: limits on their number and length.
      key: returns the normalised texts that identify a problem, see `without_overlap`.

    Returns:
      The selected problems by split; splits and problems are in the order given.
    """
    unique_splits = {split: _unique(f"{name} {split}", problems) for split, problems in splits.items()}
    fitting_splits = {
        split: _fitting(f"{name} {split}", problems, selection) for split, problems in unique_splits.items()
    }
    # A training problem that any other split states goes, even where that split leaves it out itself.
    train = fitting_splits.get("train", ())
    held_out = [problem for split, problems in splits.items() if split != "train" for problem in problems]
    remaining, overlapping = without_overlap(train, held_out, key)
    if overlapping:
        _log.warning("%s: left out %d training problems that another split holds too", name, len(overlapping))
        fitting_splits["train"] = remaining
    return {split: problems[: selection.limit] for split, problems in fitting_splits.items()}


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
    max_question, max_solution = selection.max_question_characters, selection.max_solution_characters
    fitting = tuple(
        problem
        for problem in problems
        if (max_question is None or max(len(problem.question), len(problem.full)) <= max_question)
        and (max_solution is None or len(problem.solution) <= max_solution)
    )
    if len(fitting) < len(problems):
        limits = [
            f"{count} characters of {field}"
            for count, field in ((max_question, "question"), (max_solution, "solution"))
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
    """Splits problems into "train" and "test" by a hash of each question.

    A problem's split does not depend on which other problems there are. Each split keeps the order given.

    Args:
      problems: of one source.
      test_fraction: about this share becomes "test", from 0 for none to 1 for all.

    Raises:
      UserError: `test_fraction` is not between 0 and 1.
    """
    if not 0.0 <= test_fraction <= 1.0:
        raise UserError(f"test_fraction is {test_fraction}: give a number from 0 to 1")
    sides: dict[str, list[P]] = {"train": [], "test": []}
    for problem in problems:
        sides["test" if hash_position(problem.question) < test_fraction else "train"].append(problem)
    return {split: tuple(side_problems) for split, side_problems in sides.items()}


def split_by_count(problems: Sequence[P], test_problems: int) -> dict[str, tuple[P, ...]]:
    """Splits problems into "train" and "test", with a given number of test problems.

    Both splits are in the order of `in_hash_order`, which mixes the topics of a file.

    Args:
      problems: of one source.
      test_problems: number of problems in "test": those whose questions have the lowest hashes. There are more if equal
        questions would come to different splits.

    Raises:
      UserError: `test_problems` is negative or leaves no problem for "train".
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
    """The problems sorted by the hashes of their questions: a random-looking order that is the same in every run."""
    return tuple(sorted(problems, key=lambda problem: hash_position(problem.question)))


def hash_position(question: str) -> float:
    """The hash of a question's normalised text, as a number in [0, 1)."""
    digest = hashlib.sha256(normalise_question(question).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
