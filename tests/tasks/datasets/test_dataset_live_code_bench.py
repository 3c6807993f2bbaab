"""LiveCodeBench."""

from pathlib import Path

import pytest
from dataset_toys import check_damage, contest_row, write

from sml_jax.common.errors import UserError
from sml_jax.tasks.code.problem import CallCase, IoCase
from sml_jax.tasks.datasets.live_code_bench import live_code_bench

METHOD = "```python\nclass Solution:\n    def double(self, n):\n        return {}\n```"
PROGRAM = "```python\nprint({} * int(input()))\n```"


def test_a_method_and_a_whole_program(tmp_path: Path) -> None:
    task = live_code_bench(write(tmp_path / "test.jsonl", [contest_row(0), contest_row(1, "stdin")]))
    method, program = task.problems("test")
    assert method.id == "live_code_bench:1000" and method.domain == "easy"
    assert (method.entry, program.entry) == ("double", "")
    assert method.cases[0] == CallCase("[0]", "0") and program.cases[2] == IoCase("3", "6")
    assert "class Solution:\n    def double(self, n: int) -> int:\n```" in method.question
    assert "standard input" in program.question and "standard input" not in method.question
    attempts = [(method, METHOD.format("n + n")), (method, METHOD.format("n")), (program, PROGRAM.format(2)),
            (program, PROGRAM.format(3))]  # fmt: skip
    assert [v.correct for v in task.verify(attempts)] == [True, False, True, False]


def test_dates(tmp_path: Path, caplog) -> None:
    path = write(tmp_path / "test.jsonl", [contest_row(i) for i in range(9)])
    task = live_code_bench(path, start_date="2024-03-15", end_date="2024-05-14")
    assert [p.id[-4:] for p in task.problems("test")] == ["1002", "1003"]
    assert "left out 7 of 9 rows: contest_date outside 2024-03-15 to 2024-05-14" in caplog.text
    with pytest.raises(UserError, match='start_date is "March": give a day'):
        live_code_bench(path, start_date="March")


def test_several_files_may_overlap(tmp_path: Path) -> None:
    first = write(tmp_path / "test.jsonl", [contest_row(i) for i in range(3)])
    second = write(tmp_path / "test2.jsonl", [contest_row(i) for i in range(2, 5)])
    two_files = live_code_bench([str(first), str(second)]).problems("test")
    assert [p.id[-4:] for p in two_files] == ["1000", "1001", "1002", "1003", "1004"]
    assert live_code_bench(tmp_path).problems("test") == two_files


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"contest_date": "soon"}, '"contest_date" is not a date'),
        ({"contest_date": None}, "NoneType"),
        ({"metadata": "{}"}, "no func_name"),
        ({"metadata": '{"func_name": 3}'}, "func_name"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "no test cases"),
        ({"private_test_cases": "?"}, "cannot be unpacked"),
        ({"starter_code": 3}, '"starter_code" is not a string'),
        ({"question_content": ""}, '"question_content" is empty'),
    ],
)
def test_damage(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    good_rows = [contest_row(i) for i in range(12)]
    check_damage(tmp_path, caplog, live_code_bench, good_rows, contest_row(50, **changes), why)
