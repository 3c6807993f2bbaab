"""Problems split into shards, as in "LLMs Get Lost in Multi-Turn Conversation" (arXiv 2505.06120, MIT); for evaluation.

Upstream: `data/sharded_instructions_600.json` of github.com/microsoft/lost_in_conversation, a JSON array with several
tasks; `task` says which. Every row has `task_id` and `shards` (`shard_id`, `shard`), the first of which is the bare
intent. Rows of "math" have `question` and `answer` (as in GSM8K); rows of "code" come from HumanEval (`prompt`) or
LiveCodeBench (`question_content`, `starter_code`) and have `metadata` (with `func_name`), `public_test_cases` and
`private_test_cases`. All of it is test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.tasks.code.cases import CONTEST_SETUP
from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.code.sandbox import DEFAULT_LIMITS, Limits
from sml_jax.tasks.code.task import CodeTask
from sml_jax.tasks.datasets.contest_cases import cases_of, metadata_of
from sml_jax.tasks.datasets.gsm8k import worked_solution
from sml_jax.tasks.datasets.humaneval import completion_question
from sml_jax.tasks.datasets.live_code_bench import contest_question
from sml_jax.tasks.datasets.prepared import prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, select
from sml_jax.tasks.math.extract import final_answer
from sml_jax.tasks.math.task import Knowledge, MathTask, check_knowledge
from sml_jax.tasks.problems.rows import BadRow, LeftOut, read_rows, text
from sml_jax.tasks.problems.types import Problem

_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")


def sharded_math(
    path: str | Path,
    checked: bool = True,
    knowledge: Knowledge = "answer",
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    unmarked: bool = True,
) -> MathTask:
    """The mathematics problems of a file in the sharded format (see this module); all are the split "test".

    The question is the first shard; the others are told later.

    Args:
      path: path of the file.
      checked: whether to leave out rows whose first shard has a number, and rows whose shards lack a number of the full
        question; both happen where a model made the shards.
      knowledge: what the teacher knows, the final "answer" or the whole "solution"; see `MathTask`.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      unmarked: whether a value counts that the student does not mark as its answer; see `MathTask`.

    Raises:
      UserError: the file cannot be read, or too many rows are bad.
    """
    check_knowledge(knowledge)

    def build(row: Mapping[str, Any], label: str) -> Problem:
        _of_task(row, "math")
        shards, full = _shards(row), text(row, "question").strip()
        full_answer = text(row, "answer")
        answer = final_answer(full_answer)
        if not answer:
            raise BadRow('field "answer" ends without an answer')
        # Shards that were made automatically may give a number away too early, or lose one.
        if checked and _NUMBER.search(shards[0]):
            raise LeftOut("shard 1 holds a number")
        if checked and not _numbers(full) <= _numbers(" ".join(shards)):
            raise LeftOut("the shards lose a number of the question")
        id = f"sharded_math:{text(row, 'task_id').strip()}"
        return Problem(
            id, shards[0], answer, shards[1:], domain="sharded_math", solution=worked_solution(full_answer), full=full
        )

    def read() -> dict[str, tuple[Problem, ...]]:
        return select("sharded_math", {"test": read_rows(path, build).items}, selection)

    options = {"checked": checked, "selection": selection}
    splits = prepared("sharded_math", Problem, (path,), options, read, data_dir)
    return MathTask("sharded_math", splits, knowledge, unmarked)


def sharded_code(
    path: str | Path,
    name_function: bool = True,
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CodeTask:
    """The coding problems of a file in the sharded format (see this module); all are the split "test".

    The question is the first shard; the others are told later.

    Args:
      path: path of the file.
      name_function: whether the question ends with the name that the function must have. Upstream does not tell the
        name, and renames the first function of an attempt instead.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      limits: the resources that one run of a program may use; see `CodeTask`.

    Raises:
      UserError: the file cannot be read, or too many rows are bad.
    """

    def build(row: Mapping[str, Any], label: str) -> CodeProblem:
        _of_task(row, "code")
        shards, cases, entry = _shards(row), cases_of(row), metadata_of(row).get("func_name")
        if not cases:
            raise BadRow("there are no test cases")
        if not isinstance(entry, str) or not entry.isidentifier():
            raise BadRow('field "metadata" holds no func_name')
        # Rows of HumanEval continue a prompt; those of LiveCodeBench are contest problems.
        is_completion = "prompt" in row
        solution = row.get("canonical_solution") if is_completion else ""
        return CodeProblem(
            id=f"sharded_code:{text(row, 'task_id').strip()}",
            question=f"{shards[0]}\n\nName the function `{entry}`." if name_function else shards[0],
            answer=text(row, "prompt") + text(row, "canonical_solution") if solution else "",
            shards=shards[1:],
            domain="sharded_code",
            solution=text(row, "prompt") + text(row, "canonical_solution") if solution else "",
            full=completion_question(text(row, "prompt")) if is_completion else contest_question(row),
            setup=_imports(text(row, "prompt")) if is_completion else CONTEST_SETUP,
            cases=cases,
            entry=entry,
        )

    def read() -> dict[str, tuple[CodeProblem, ...]]:
        return select("sharded_code", {"test": read_rows(path, build).items}, selection)

    options = {"name_function": name_function, "selection": selection}
    return CodeTask("sharded_code", prepared("sharded_code", CodeProblem, (path,), options, read, data_dir), limits)


def _of_task(row: Mapping[str, Any], task: str) -> None:
    """Raises LeftOut for a row of another task."""
    if text(row, "task") != task:
        raise LeftOut(f'task is not "{task}"')


def _shards(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The shards in the order of their numbers, at least two."""
    shard_objects = row.get("shards")
    if not isinstance(shard_objects, list) or not all(isinstance(shard_object, dict) for shard_object in shard_objects):
        raise BadRow('field "shards" is not a list of objects')
    numbers = [shard_object.get("shard_id") for shard_object in shard_objects]
    if len(shard_objects) < 2 or sorted(n for n in numbers if isinstance(n, int)) != list(
        range(1, len(shard_objects) + 1)
    ):
        raise BadRow('field "shards" does not number two or more shards from 1')
    return tuple(
        text(shard_object, "shard").strip()
        for shard_object in sorted(shard_objects, key=lambda shard_object: shard_object["shard_id"])
    )


def _numbers(statement: str) -> set[str]:
    """The numbers of a text, without thousands' commas."""
    return {number.replace(",", "") for number in _NUMBER.findall(statement)}


def _imports(prompt: str) -> str:
    """The lines of HumanEval's prompt that import, which attempts rely on without repeating them."""
    return "\n".join(line for line in prompt.split("\n") if re.match(r"(?:import|from)\s", line))
