"""The sharded format: mathematics and programs."""

import json
from pathlib import Path

import pytest
from dataset_toys import check_damage, contest_row, sharded_code_row, sharded_row

from sml_jax.tasks import Problem
from sml_jax.tasks.code.problem import CallCase
from sml_jax.tasks.datasets.sharded import sharded_code, sharded_math


def array(path: Path, rows: list[dict]) -> Path:
    path.write_text(json.dumps(rows, indent=4))
    return path


def shards(*texts: str) -> list[dict]:
    return [{"shard_id": i, "shard": text} for i, text in enumerate(texts, 1)]


def test_mathematics(tmp_path: Path, caplog) -> None:
    rows = [sharded_row(7), sharded_code_row(1), sharded_row(8, task="database")]
    (problem,) = sharded_math(array(tmp_path / "a.json", rows)).problems("test")
    assert problem == Problem(
        id="sharded_math:toy/7",
        question="How many nuts are left?",
        answer="1193",
        shards=("Bo has 1200 nuts.", "Bo eats 7 of them."),
        domain="sharded_math",
        solution="How many? ** 1200 - 7 = 1193",
        full="Bo has 1,200 nuts and eats 7. How many are left?",
    )
    assert 'left out 2 of 3 rows: task is not "math"' in caplog.text


def test_checks_of_automatic_shards(tmp_path: Path, caplog) -> None:
    rows = [
        sharded_row(7),
        sharded_row(8, shards=shards("How many of 1200 nuts are left?", "Bo eats 8.")),
        sharded_row(9, shards=shards("How many nuts are left?", "Bo has 1200 nuts.")),
    ]
    path = array(tmp_path / "a.json", rows)
    assert [p.id[-1] for p in sharded_math(path).problems("test")] == ["7"]
    assert "left out 1 of 3 rows: shard 1 holds a number" in caplog.text
    assert "left out 1 of 3 rows: the shards lose a number of the question" in caplog.text
    assert [p.id[-1] for p in sharded_math(path, checked=False).problems("test")] == ["7", "8", "9"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shards": shards("only one")}, "two or more shards"),
        ({"shards": [{"shard_id": 1, "shard": "a"}, {"shard_id": 3, "shard": "b"}]}, "two or more shards"),
        ({"shards": [{"shard_id": "1", "shard": "a"}, {"shard_id": 2, "shard": "b"}]}, "two or more shards"),
        ({"shards": [{"shard_id": 1}, {"shard_id": 2, "shard": "b"}]}, 'no field "shard"'),
        ({"shards": "a"}, "not a list of objects"),
        ({"answer": "so ####"}, "ends without an answer"),
        ({"task": None}, "NoneType"),
    ],
)
def test_damage(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    good_rows = [sharded_row(i) for i in range(12)]
    check_damage(tmp_path, caplog, sharded_math, good_rows, sharded_row(50, **changes), why)


def test_programs_of_both_origins(tmp_path: Path) -> None:
    contest = {
        **contest_row(4),
        "task": "code",
        "task_id": "toy-contest/4",
        "metadata": {"func_name": "double"},
        "shards": shards("make it twice as much", "it is a number"),
    }
    rows = [sharded_code_row(1), contest, sharded_row(2)]
    path = array(tmp_path / "a.json", rows)
    task = sharded_code(path)
    first, second = task.problems("test")
    assert first.question == "sum up a list\n\nName the function `total_1`." and first.shards == ("then add 1",)
    assert first.setup == "from typing import List" and first.cases == (CallCase("[[1, 2]]", "4"),)
    assert 'Sum of xs, plus 1."""' in first.full and first.solution.endswith("return sum(xs) + 1\n")
    assert second.full.startswith("Double the number. Variant 4.\n\nUse this starter code:") and len(second.cases) == 3
    utterances = [
        "```python\ndef total_1(xs: List[int]): return sum(xs) + 1\n```",
        "```python\ndef double(n): return 2 * n\n```",
    ]
    assert [v.correct for v in task.verify(list(zip((first, second), utterances, strict=True)))] == [True, True]
    assert sharded_code(path, name_function=False).problems("test")[1].question == "make it twice as much"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"public_test_cases": "[]"}, "no test cases"),
        ({"metadata": {}}, "no func_name"),
        ({"metadata": {"func_name": "a b"}}, "no func_name"),
        ({"prompt": ""}, '"prompt" is empty'),
    ],
)
def test_damage_of_programs(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    good_rows = [sharded_code_row(i) for i in range(12)]
    check_damage(tmp_path, caplog, sharded_code, good_rows, sharded_code_row(50, **changes), why)


def test_the_real_file(real_data: Path) -> None:
    path = real_data / "sharded_gsm8k" / "sharded_gsm8k.json"
    problems = sharded_math(path).problems("test")
    assert len(problems) == 291 and len(sharded_math(path, checked=False).problems("test")) == 333
    assert all(p.shards and p.full and not any(c.isdigit() for c in p.question) for p in problems)
