"""OpenCodeInstruct."""

import json
from pathlib import Path

import pytest
from dataset_toys import check_damage, instruct_row, write

from sml_jax.tasks.datasets.open_code_instruct import open_code_instruct


def test_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [instruct_row(i) for i in range(40)])
    task = open_code_instruct(path, test_fraction=0.5)
    train, test = task.problems("train"), task.problems("test")
    assert len(train) + len(test) == 40 and min(len(train), len(test)) > 8
    problem = min((*train, *test), key=lambda p: int(p.id.rpartition("-")[2]))
    assert (problem.id, problem.entry, problem.domain) == ("open_code_instruct:id-0", "plus", "generic")
    assert problem.question == (
        "Write a function that adds 0 to its argument.\n\nWrite it as `def plus(x: int) -> int:`"
    )
    assert problem.solution == "def plus(x: int) -> int:\n    return x + 0"
    utterances = [f"```python\n{problem.solution}\n```", "```python\ndef plus(x): return 9\n```"]
    assert [v.correct for v in task.verify([(problem, text) for text in utterances])] == [True, False]


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    rows = [instruct_row(i) for i in range(6)]
    for part in (0, 1):
        table = arrow.Table.from_pylist(rows[3 * part : 3 * part + 3])
        pyarrow.parquet.write_table(table, tmp_path / f"train-0000{part}-of-00002.parquet")
    lines = open_code_instruct(write(tmp_path / "lines.jsonl", rows), 0).problems("train")
    (tmp_path / "lines.jsonl").unlink()
    assert open_code_instruct(tmp_path, 0).problems("train") == lines


def test_scores_and_max_rows(tmp_path: Path, caplog) -> None:
    scores = ["1.0", "0.9", "1.0", 0.5, "1"]
    rows = [instruct_row(i, average_test_score=score) for i, score in enumerate(scores)]
    path = write(tmp_path / "a.jsonl", rows)
    assert [p.id[-1] for p in open_code_instruct(path, 0).problems("train")] == ["0", "2", "4"]
    assert "left out 2 of 5 rows: average_test_score below 1" in caplog.text
    some = open_code_instruct(path, 0, min_test_score=0.9, max_rows=3).problems("train")
    assert [p.id[-1] for p in some] == ["0", "1", "2"]


def test_where_the_name_cannot_be_told_a_test_is_shown(tmp_path: Path) -> None:
    row = instruct_row(
        3, output="class Adder:\n    pass", unit_tests=json.dumps(["assert Adder().plus(1) == 4"]), id=None
    )
    (problem,) = open_code_instruct(write(tmp_path / "a.jsonl", [row]), 0).problems("train")
    assert problem.question.endswith("It must pass tests such as\nassert Adder().plus(1) == 4")
    assert (problem.id, problem.entry) == ("open_code_instruct:1", "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"unit_tests": "[assert 1]"}, '"unit_tests" is not JSON'),
        ({"unit_tests": None}, '"unit_tests" is not JSON'),
        ({"unit_tests": "[]"}, '"unit_tests" is empty'),
        ({"unit_tests": "{}"}, "not a list of strings"),
        ({"average_test_score": "good"}, "is not a number"),
        ({"average_test_score": None}, "NoneType"),
        ({"input": " "}, '"input" is empty'),
    ],
)
def test_damage(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    good_rows = [instruct_row(i) for i in range(12)]
    check_damage(tmp_path, caplog, open_code_instruct, good_rows, instruct_row(50, **changes), why)
