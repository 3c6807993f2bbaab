"""Data files: whatever is in them, a task with sound problems or a UserError."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken, changed, dumps
from fuzz.toys import toys
from sml_jax.common.errors import UserError
from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.datasets.gsm8k import gsm8k
from sml_jax.tasks.datasets.hendrycks_math import hendrycks_math
from sml_jax.tasks.datasets.humaneval import humaneval
from sml_jax.tasks.datasets.jsonl import JsonlTask
from sml_jax.tasks.datasets.live_code_bench import live_code_bench
from sml_jax.tasks.datasets.mbpp import mbpp
from sml_jax.tasks.datasets.omni_math import omni_math
from sml_jax.tasks.datasets.open_code_instruct import open_code_instruct
from sml_jax.tasks.datasets.sharded import sharded_code, sharded_math

_toys = toys("tasks/datasets/dataset_toys")
Loader = Callable[[Path], Any]


def _math_row(i: int) -> dict[str, Any]:
    return {"problem": f"What is {i} + 1?", "solution": f"It is \\boxed{{{i + 1}}}.", "level": "1", "type": "Algebra"}


# By name: a sound row, and what reads a file of them.
_FORMATS: dict[str, tuple[Callable[[int], dict[str, Any]], Loader]] = {
    "jsonl": (lambda i: _toys.gsm8k_rows(1, i)[0], lambda path: JsonlTask(path)),
    "gsm8k": (lambda i: _toys.gsm8k_rows(1, i)[0], lambda path: gsm8k(path, path)),
    "math": (_math_row, lambda path: hendrycks_math(path, path)),
    "omni_math": (_toys.omni_row, lambda path: omni_math(path, test_problems=1)),
    "mbpp": (lambda i: _toys.mbpp_row(i + 1), lambda path: mbpp(path, challenge_tests=True)),
    "humaneval": (_toys.humaneval_row, humaneval),
    "contests": (_toys.contest_row, live_code_bench),
    "contests_stdin": (lambda i: _toys.contest_row(i, "stdin"), live_code_bench),
    "instruct": (_toys.instruct_row, open_code_instruct),
    "sharded_math": (_toys.sharded_row, sharded_math),
    "sharded_code": (_toys.sharded_code_row, sharded_code),
}
_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet", "")


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences the package's warnings within it: a campaign's damaged files would make millions."""
    logger = logging.getLogger("sml_jax")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _content(source: Source, row: Callable[[int], dict[str, Any]], suffix: str) -> bytes:
    # Sound rows, of which the last ones are changed.
    rows: list[Any] = [row(i) for i in range(source.integer(1, 3))]
    if source.flag(3):
        rows = [rows[0]] * 12 + rows  # so that one bad row is no more than a tenth
    for _ in range(source.integer(0, 2)):
        rows[-1 - source.integer(0, min(len(rows), 3) - 1)] = changed(source, rows[-1])
    if suffix == ".parquet":
        return _parquet(rows)
    if source.flag(3):
        content = dumps(rows, ensure_ascii=source.flag(), indent=source.pick((None, 1)))
    else:
        content = "\n".join(dumps(row, ensure_ascii=source.flag()) for row in rows)
    return content.encode("utf-8", "surrogatepass")


def _parquet(rows: list[Any]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet

        out = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row for row in rows if isinstance(row, dict)]), out)
    except Exception:  # rows that make no table
        return b"PAR1"
    return out.getvalue()


def _check_problem(problem: Any) -> None:
    # All texts can be encoded, all cases stored as JSON.
    for field in dataclasses.fields(problem):
        value = getattr(problem, field.name)
        for text in (value,) if isinstance(value, str) else value:
            if isinstance(text, str):
                text.encode("utf-8")
            else:
                json.dumps(dataclasses.asdict(text))
    assert problem.question.strip(), "a problem without a question"
    if isinstance(problem, CodeProblem):
        assert problem.tests or problem.cases


def check(source: Source) -> None:
    """One case."""
    row, load = _FORMATS[source.pick(tuple(_FORMATS))]
    suffix = source.pick(_SUFFIXES)
    content = _content(source, row, suffix)
    if source.flag():
        content = broken(source, content)
    if suffix.endswith(".gz"):
        content = gzip.compress(content, 1)
        if source.flag(4):
            content = broken(source, content)
    # The file is damaged before or after it is compressed.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        path.write_bytes(content)
        with _without_warnings():
            task = allowed(lambda: load(path))
    if isinstance(task, UserError):
        return
    # What was read is a task with sound problems, no two of which have one id.
    ids = set()
    for split in ("train", "test", "validation", "prompt"):
        with contextlib.suppress(UserError):  # no such split, or an empty one
            for problem in task.problems(split):
                _check_problem(problem)
                assert problem.id not in ids, f"two problems called {problem.id}"
                ids.add(problem.id)


def target() -> Target:
    """The readers of data files."""
    return Target("rows", check, cpu_s=20.0)
