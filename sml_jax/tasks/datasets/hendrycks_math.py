"""MATH, competition problems (Hendrycks et al., arXiv 2103.03874, MIT).

Upstream: `MATH.tar` of github.com/hendrycks/math, with a JSON file a problem: `train/SUBJECT/n.json` (7,500) and
`test/SUBJECT/n.json` (5,000); fields `problem`, `solution` (its answer in the last `\\boxed{}`), `level`, `type`.
Mirrors with the same fields in JSON lines or Parquet do as well, such as `EleutherAI/hendrycks_math` on the Hugging
Face Hub (a folder of files is read as one).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.tasks.datasets.prepared import prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, in_hash_order, select
from sml_jax.tasks.math.extract import final_answer
from sml_jax.tasks.math.task import Knowledge, MathTask, check_knowledge
from sml_jax.tasks.problems.rows import BadRow, read_rows, text
from sml_jax.tasks.problems.types import Problem


def hendrycks_math(
    train_path: str | Path,
    test_path: str | Path,
    knowledge: Knowledge = "answer",
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    unmarked: bool = True,
) -> MathTask:
    """MATH, read from the upstream folders, with the splits "train" and "test".

    The order of the problems mixes the subjects and is the same in every run.

    Args:
      train_path: path of the folder `train`, or of a file with its rows.
      test_path: the same for `test`.
      knowledge: what the teacher knows, the final "answer" or the whole "solution"; see `MathTask`.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      unmarked: whether a value counts that the student does not mark as its answer; see `MathTask`.

    Raises:
      UserError: nothing can be read there, or too many rows are bad.
    """
    check_knowledge(knowledge)

    def read() -> dict[str, tuple[Problem, ...]]:
        def rows(split: str, path: str | Path) -> tuple[Problem, ...]:
            return in_hash_order(read_rows(path, lambda row, label: _problem(row, f"math:{split}:{label}")).items)

        return select("math", {"train": rows("train", train_path), "test": rows("test", test_path)}, selection)

    options = {"selection": selection}
    splits = prepared("math", Problem, (train_path, test_path), options, read, data_dir)
    return MathTask("math", splits, knowledge, unmarked)


def _problem(row: Mapping[str, Any], id: str) -> Problem:
    question, solution = text(row, "problem").strip(), text(row, "solution").strip()
    answer = final_answer(solution)
    if "\\boxed" not in solution or not answer or answer == solution:
        raise BadRow('field "solution" holds no \\boxed{} answer')
    subject = row.get("type")
    return Problem(id, question, answer, domain=subject if isinstance(subject, str) else "math", solution=solution)
