"""HumanEval, functions to complete (arXiv 2107.03374, MIT); for evaluation.

Upstream: `data/HumanEval.jsonl.gz` (164 rows) of github.com/openai/human-eval; fields `task_id`, `prompt` (imports,
the function's head and its docstring), `canonical_solution` (the body), `test` (defines `check(candidate)`),
`entry_point`. The Parquet file of `openai/openai_humaneval` on the Hugging Face Hub does as well. All of it is test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.tasks.code.extract import parse_python
from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.code.sandbox import DEFAULT_LIMITS, Limits
from sml_jax.tasks.code.task import CodeTask
from sml_jax.tasks.datasets.prepared import prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, select
from sml_jax.tasks.problems.rows import BadRow, read_rows, text


def humaneval(
    path: str | Path,
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CodeTask:
    """HumanEval, read from the upstream file; all of it is the split "test".

    Args:
      path: path of `HumanEval.jsonl.gz`, packed or unpacked.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      limits: the resources that one run of a program may use; see `CodeTask`.

    Raises:
      UserError: the file cannot be read, or too many rows are bad.
    """

    def read() -> dict[str, tuple[CodeProblem, ...]]:
        return select("humaneval", {"test": read_rows(path, _problem).items}, selection)

    options = {"selection": selection}
    return CodeTask("humaneval", prepared("humaneval", CodeProblem, (path,), options, read, data_dir), limits)


def _problem(row: Mapping[str, Any], label: str) -> CodeProblem:
    prompt, entry = text(row, "prompt"), text(row, "entry_point").strip()
    if not entry.isidentifier():
        raise BadRow('field "entry_point" is not the name of a function')
    # The solution is the body alone; the program is the prompt and the body.
    code = prompt + text(row, "canonical_solution")
    return CodeProblem(
        id=f"humaneval:{text(row, 'task_id').strip()}",
        question=completion_question(prompt),
        answer=code,
        domain="humaneval",
        solution=code,
        tests=(f"{text(row, 'test')}\ncheck({entry})",),
        setup=_helpers(prompt, entry),
        entry=entry,
        prefix=prompt,
    )


def _helpers(prompt: str, entry: str) -> str:
    """What a prompt defines before the function that is to be completed; "" if that is no program.

    Tests use these helpers, such as `poly` of HumanEval/32. As the setup they are the tests' own, and an answer that
    defines them again changes nothing for a test.
    """
    head = re.search(rf"^(?:async )?def {entry}\b", prompt, re.MULTILINE)
    helpers = prompt[: head.start()] if head else ""
    return helpers if parse_python(helpers) is not None else ""


def completion_question(prompt: str) -> str:
    """The question that asks a student to complete a function; `prompt` is the start of the program."""
    return f"Complete this Python function:\n```python\n{prompt.strip()}\n```"
