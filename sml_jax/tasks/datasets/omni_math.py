"""Omni-MATH, olympiad problems (arXiv 2410.07985, Apache-2.0).

Upstream: `test.jsonl` (4,428 rows, 7.5 MB) of `KbsdJames/Omni-MATH` on the Hugging Face Hub; fields `problem`,
`solution`, `answer`, `difficulty` (1 to 10), `domain` (a list of paths such as "Mathematics -> Algebra -> ..."),
`source`. It has one split; the split made here holds out 500 problems, as many as the paper does (arXiv 2602.16488).
Which ones it holds out is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.tasks.datasets.prepared import prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, select, split_by_count
from sml_jax.tasks.math.extract import final_answer
from sml_jax.tasks.math.task import Knowledge, MathTask, check_knowledge
from sml_jax.tasks.problems.rows import BadRow, LeftOut, number_or_text, read_rows, text
from sml_jax.tasks.problems.types import Problem


def omni_math(
    path: str | Path,
    test_problems: int = 500,
    min_difficulty: float | int = 0,
    max_difficulty: float | int = 10,
    knowledge: Knowledge = "answer",
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    unmarked: bool = True,
) -> MathTask:
    """Omni-MATH, read from the upstream file, with the splits "train" and "test".

    The order of the problems mixes the file's sources and is the same in every run.

    Args:
      path: path of `test.jsonl`.
      test_problems: number of problems in the test split, chosen by the hash of their text.
      min_difficulty, max_difficulty: problems with a `difficulty` (1 to 10) outside these bounds are left out.
      knowledge: what the teacher knows, the final "answer" or the whole "solution"; see `MathTask`.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      unmarked: whether a value counts that the student does not mark as its answer; see `MathTask`.

    Raises:
      UserError: the file cannot be read, too many rows are bad, or too few problems are left.
    """
    check_knowledge(knowledge)

    def build(row: Mapping[str, Any], label: str) -> Problem:
        question, answer = text(row, "problem").strip(), final_answer(number_or_text(row, "answer"))
        if not answer:
            raise BadRow('field "answer" ends without an answer')
        # True is an integer to Python, and no difficulty.
        difficulty = row.get("difficulty")
        if isinstance(difficulty, bool) or not isinstance(difficulty, int | float):
            raise BadRow('field "difficulty" is not a number')
        if not min_difficulty <= difficulty <= max_difficulty:
            raise LeftOut(f"difficulty outside {min_difficulty} to {max_difficulty}")
        solution = text(row, "solution").strip() if row.get("solution") else ""
        return Problem(f"omni_math:{label}", question, answer, domain=_domain(row.get("domain")), solution=solution)

    def read() -> dict[str, tuple[Problem, ...]]:
        return select("omni_math", split_by_count(read_rows(path, build).items, test_problems), selection)

    options = {"test": test_problems, "difficulty": (min_difficulty, max_difficulty), "selection": selection}
    splits = prepared("omni_math", Problem, (path,), options, read, data_dir)
    return MathTask("omni_math", splits, knowledge, unmarked)


def _domain(domains: object) -> str:
    """The second step of the first path, "Algebra" of "Mathematics -> Algebra -> ..."."""
    if isinstance(domains, list) and domains and isinstance(domains[0], str):
        steps = [step.strip() for step in domains[0].split("->")]
        return steps[1] if len(steps) > 1 else steps[0]
    return "omni_math"
