"""OpenCodeInstruct, synthetic Python problems with unit tests (arXiv 2504.04030, CC BY 4.0).

Upstream: `data/train-*.parquet` of `nvidia/OpenCodeInstruct` on the Hugging Face Hub (reading them needs pyarrow;
JSON lines with the same fields do as well): `id`, `input`, `output` (an answer with its program), `domain`,
`generation_algorithm`, `llm_judgement`, `unit_tests` (JSON text, a list of asserts), `tests_execution_status`,
`average_test_score`. It has one split and millions of rows; `max_rows` reads some from the start. The paper trains
on 2,000 (arXiv 2602.16488); which ones is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.code.sandbox import DEFAULT_LIMITS, Limits
from sml_jax.tasks.code.task import CodeTask
from sml_jax.tasks.datasets.code_text import entry_of, signature_of, unfence
from sml_jax.tasks.datasets.contest_cases import parse_json
from sml_jax.tasks.datasets.prepared import prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, select, split_by_hash
from sml_jax.tasks.problems.rows import BadRow, LeftOut, number_or_text, read_rows, text, texts


def open_code_instruct(
    path: str | Path,
    test_fraction: float | int = 0.1,
    min_test_score: float | int = 1,
    max_rows: int | None = None,
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CodeTask:
    """OpenCodeInstruct, read from the upstream files, with the splits "train" and "test".

    Args:
      path: path of a file, or of the folder of files.
      test_fraction: about this share of the problems becomes the test split, chosen by the hash of their question.
      min_test_score: a problem is left out if the upstream answer passes a smaller share of its tests, from 0 to 1.
      max_rows: number of rows to read from the start; None for all, which takes tens of gigabytes of memory.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      limits: the resources that one run of a program may use; see `CodeTask`.

    Raises:
      UserError: pyarrow is missing, a file cannot be read, or too many rows are bad.
    """
    split_by_hash([], test_fraction)  # a bad fraction is named before files are read

    def build(row: Mapping[str, Any], label: str) -> CodeProblem:
        try:
            score = float(number_or_text(row, "average_test_score"))
        except ValueError as error:
            raise error if isinstance(error, BadRow) else BadRow('field "average_test_score" is not a number') from None
        if not score >= min_test_score:
            raise LeftOut(f"average_test_score below {min_test_score}")
        return _problem(row, label)

    def read() -> dict[str, tuple[CodeProblem, ...]]:
        rows = read_rows(path, build, max_rows=max_rows)
        return select("open_code_instruct", split_by_hash(rows.items, test_fraction), selection)

    options = {"test": test_fraction, "score": min_test_score, "rows": max_rows, "selection": selection}
    problems = prepared("open_code_instruct", CodeProblem, (path,), options, read, data_dir)
    return CodeTask("open_code_instruct", problems, limits)


def _problem(row: Mapping[str, Any], label: str) -> CodeProblem:
    tests = texts({"unit_tests": parse_json(row.get("unit_tests"), "unit_tests")}, "unit_tests")
    if not tests:
        raise BadRow('field "unit_tests" is empty')
    # The upstream answers are Markdown.
    code = unfence(text(row, "output"))
    entry = entry_of(code, tests)
    signature = signature_of(code, entry)
    # The student must know what the tests call: the upstream text does not always say it.
    called = f"Write it as `{signature}`" if signature else f"It must pass tests such as\n{tests[0].strip()}"
    return CodeProblem(
        id=f"open_code_instruct:{text(row, 'id').strip() if row.get('id') else label}",
        question=f"{text(row, 'input').strip()}\n\n{called}",
        answer=code,
        domain=text(row, "domain").strip() if row.get("domain") else "open_code_instruct",
        solution=code,
        tests=tests,
        entry=entry,
    )
