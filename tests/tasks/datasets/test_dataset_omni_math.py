"""Omni-MATH."""

from pathlib import Path

import pytest
from dataset_toys import check_damage, omni_row, write

from sml_jax.common.errors import UserError
from sml_jax.tasks.datasets.omni_math import omni_math
from sml_jax.tasks.datasets.splits import Selection


def test_rows_and_split(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [omni_row(i) for i in range(40)])
    task = omni_math(path, test_problems=10, selection=Selection(limit=20))
    assert len(task.problems("test")) == 10 and len(task.problems("train")) == 20
    problem = task.problems("test")[0]
    i = int(problem.answer)
    assert problem.id == f"omni_math:{i + 1}" and problem.question == omni_row(i)["problem"]
    assert (problem.domain, problem.solution) == ("Algebra", f"Add {i} to both sides.")
    assert not {p.id for p in task.problems("test")} & {p.id for p in task.problems("train")}
    more = write(tmp_path / "more.jsonl", [omni_row(i) for i in reversed(range(40))])
    assert {p.question for p in omni_math(more, 10).problems("test")} == {p.question for p in task.problems("test")}


def test_difficulty(tmp_path: Path, caplog) -> None:
    path = write(tmp_path / "test.jsonl", [omni_row(i, solution="") for i in range(18)])
    task = omni_math(path, 2, min_difficulty=2, max_difficulty=4.5)
    assert len(task.problems("train")) == 4 and "left out 12 of 18 rows: difficulty outside 2 to 4.5" in caplog.text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"difficulty": "hard"}, '"difficulty" is not a number'),
        ({"answer": None}, '"answer" is NoneType'),
        ({"problem": ""}, '"problem" is empty'),
        ({"solution": 3}, '"solution" is int'),
    ],
)
def test_damage(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    good_rows = [omni_row(i) for i in range(12)]
    check_damage(tmp_path, caplog, lambda path: omni_math(path, 0), good_rows, omni_row(50, **changes), why)


def test_domains_of_other_shapes(tmp_path: Path) -> None:
    rows = [omni_row(0, domain=["Algebra"]), omni_row(1, domain=[]), omni_row(2, domain=None)]
    domains = {p.answer: p.domain for p in omni_math(write(tmp_path / "a.jsonl", rows), 0).problems("train")}
    assert domains == {"0": "Algebra", "1": "omni_math", "2": "omni_math"}


def test_too_few_problems(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="test_problems is 500, of 3 problems"):
        omni_math(write(tmp_path / "a.jsonl", [omni_row(i) for i in range(3)]))
