"""MBPP, short Python problems (arXiv 2108.07732, CC BY 4.0).

Upstream: `mbpp/mbpp.jsonl` (974 rows) of github.com/google-research/google-research; fields `task_id`, `text`,
`code`, `test_list`, `test_setup_code`, `challenge_test_list`. The splits are the paper's, by `task_id`: 1-10 for
prompts, 11-510 test, 511-600 validation, 601-974 train. As in the paper's prompt, a question ends with the tests,
which name the function.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.code.sandbox import DEFAULT_LIMITS, Limits
from sml_jax.tasks.code.task import CodeTask
from sml_jax.tasks.datasets.code_text import entry_of
from sml_jax.tasks.datasets.prepared import prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, select
from sml_jax.tasks.problems.overlap import normalise_question
from sml_jax.tasks.problems.rows import BadRow, check_unicode, read_rows, text, texts
from sml_jax.tasks.problems.types import Problem

_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
_TESTS = "\n\nYour code should pass these tests:\n"


def mbpp(
    path: str | Path,
    shown_tests: int = 3,
    challenge_tests: bool = False,
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CodeTask:
    """MBPP, read from the upstream file, with the splits "prompt", "test", "validation" and "train" of the paper.

    Args:
      path: path of `mbpp.jsonl`.
      shown_tests: how many tests are shown at the end of each question. With 0, the student may not be told the name of
        the function.
      challenge_tests: whether programs must also pass the tests in `challenge_test_list`, which are never shown.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      limits: the resources that one run of a program may use; see `CodeTask`.

    Raises:
      UserError: the file cannot be read, or too many rows are bad.
    """
    if shown_tests < 0:
        raise UserError(f"shown_tests is {shown_tests}: give 0 or more")

    def build(row: Mapping[str, Any], label: str) -> tuple[str, CodeProblem]:
        return _problem(row, shown_tests, challenge_tests)

    def read() -> dict[str, tuple[CodeProblem, ...]]:
        rows = read_rows(path, build).items
        splits = {name: tuple(problem for split, problem in rows if split == name) for name in _SPLITS}
        return select("mbpp", splits, selection, key=_statement)

    options = {"shown_tests": shown_tests, "challenge_tests": challenge_tests, "selection": selection}
    return CodeTask("mbpp", prepared("mbpp", CodeProblem, (path,), options, read, data_dir), limits)


def _problem(row: Mapping[str, Any], shown_tests: int, challenge_tests: bool) -> tuple[str, CodeProblem]:
    """(split, problem) of a row."""
    # The split is the paper's, by number.
    task_number = row.get("task_id")
    split = next((name for name, split_range in _SPLITS.items() if task_number in split_range), None)
    if split is None or isinstance(task_number, bool):
        raise BadRow('field "task_id" is not a number from 1 to 974')
    tests = texts(row, "test_list")
    if not tests:
        raise BadRow('field "test_list" is empty')
    # Files written on Windows end their lines in two characters.
    code = text(row, "code").replace("\r\n", "\n")
    setup = row.get("test_setup_code") or ""
    if not isinstance(setup, str):
        raise BadRow('field "test_setup_code" is not a string')
    setup = check_unicode(setup, "test_setup_code").replace("\r\n", "\n")
    question = text(row, "text").strip()
    if shown_tests:
        question += _TESTS + "\n".join(tests[:shown_tests])
    return split, CodeProblem(
        id=f"mbpp:{task_number}",
        question=question,
        answer=code,
        domain="mbpp",
        solution=code,
        # The setup of rows 367 and 927 uses a class that the solution defines, so it follows the program.
        tests=(
            *([setup] if setup.strip() else []),
            *tests,
            *(texts(row, "challenge_test_list") if challenge_tests else ()),
        ),
        entry=entry_of(code, tests),
    )


def _statement(problem: Problem) -> set[str]:
    """Two rows with one text are one problem, whatever their tests."""
    return {normalise_question(problem.question.partition(_TESTS)[0])}
