"""LiveCodeBench, contest problems with their dates (arXiv 2403.07974; licence as the data card says); for evaluation.

Upstream: `test.jsonl`, `test2.jsonl` ... `test6.jsonl` of `livecodebench/code_generation_lite` on the Hugging Face
Hub, a file for each release's new problems (1,055 in all in release 6); fields `question_title`, `question_content`,
`platform`, `question_id`, `contest_id`, `contest_date`, `starter_code`, `difficulty`, `public_test_cases`,
`private_test_cases`, `metadata`. Problems are chosen by date, so as to come after a model's training. All of it is
test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.tasks.code.cases import CONTEST_SETUP
from sml_jax.tasks.code.problem import CallCase, CodeProblem
from sml_jax.tasks.code.sandbox import DEFAULT_LIMITS, Limits
from sml_jax.tasks.code.task import CodeTask
from sml_jax.tasks.datasets.contest_cases import cases_of, metadata_of
from sml_jax.tasks.datasets.prepared import prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, select
from sml_jax.tasks.problems.rows import BadRow, LeftOut, check_unicode, read_rows, text

_WHOLE_PROGRAM = "Write a program that reads standard input and writes its answer to standard output."


def live_code_bench(
    path: str | Path | Sequence[str],
    start_date: str | None = None,
    end_date: str | None = None,
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CodeTask:
    """LiveCodeBench, read from the upstream files; all of it is the split "test".

    Args:
      path: path of a file or of a folder of files, or several such paths.
      start_date: the first contest day to include, such as "2024-08-01"; None for no bound.
      end_date: the last contest day to include; None for no bound.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs, which saves unpacking the private cases
        again; None to parse the files in each run.
      limits: the resources that one run of a program may use; see `CodeTask`.

    Raises:
      UserError: a file cannot be read, too many rows are bad, or a date cannot be read.
    """
    first_day, last_day = _day(start_date, "start_date", date.min), _day(end_date, "end_date", date.max)
    paths = [path] if isinstance(path, str | Path) else list(path)

    def build(row: Mapping[str, Any], label: str) -> CodeProblem:
        try:
            day = datetime.fromisoformat(text(row, "contest_date")).date()
        except ValueError as error:
            raise error if isinstance(error, BadRow) else BadRow('field "contest_date" is not a date') from None
        if not first_day <= day <= last_day:
            raise LeftOut(f"contest_date outside {start_date or '...'} to {end_date or '...'}")
        return _problem(row)

    def read() -> dict[str, tuple[CodeProblem, ...]]:
        problems = tuple(problem for file in paths for problem in read_rows(file, build).items)
        return select("live_code_bench", {"test": problems}, selection)

    options = {"dates": (start_date, end_date), "selection": selection}
    return CodeTask("live_code_bench", prepared("live_code_bench", CodeProblem, paths, options, read, data_dir), limits)


def _day(value: str | None, name: str, default: date) -> date:
    """The day of a setting; `default` for None."""
    try:
        return default if value is None else date.fromisoformat(value)
    except ValueError:
        raise UserError(f'{name} is "{value}": give a day as "2024-08-01", or None') from None


def _problem(row: Mapping[str, Any]) -> CodeProblem:
    # What judges a program: its cases, and for those that call a function, its name.
    cases = cases_of(row)
    if not cases:
        raise BadRow("there are no test cases")
    entry = metadata_of(row).get("func_name") or ""
    if not isinstance(entry, str):
        raise BadRow('field "metadata" holds a func_name that is not a string')
    if not entry and any(isinstance(case, CallCase) for case in cases):
        raise BadRow('field "metadata" holds no func_name, and the cases call a function')
    return CodeProblem(
        id=f"live_code_bench:{text(row, 'question_id').strip()}",
        question=contest_question(row),
        answer="",
        domain=str(row.get("difficulty", "live_code_bench")),
        setup=CONTEST_SETUP,
        cases=cases,
        entry=entry,
    )


def contest_question(row: Mapping[str, Any]) -> str:
    """The question of a row in LiveCodeBench's format: the statement, and the form that the program must have.

    The form is given by the row's starter code; without it, a main program is asked for.

    Raises:
      BadRow: the row has no statement, or its starter code is no text.
    """
    # With starter code the answer is a function or a class, without it a whole program.
    content, starter = text(row, "question_content").strip(), row.get("starter_code") or ""
    if not isinstance(starter, str):
        raise BadRow('field "starter_code" is not a string')
    if not starter.strip():
        return f"{content}\n\n{_WHOLE_PROGRAM}"
    return f"{content}\n\nUse this starter code:\n```python\n{check_unicode(starter, 'starter_code').rstrip()}\n```"
