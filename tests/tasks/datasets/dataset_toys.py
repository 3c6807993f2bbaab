"""Made-up rows in the formats of public data sets."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sml_jax.common.errors import UserError
from sml_jax.tasks import Task


def write(path: Path, rows: Sequence[Any]) -> Path:
    """An object a line; a text is written as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def check_damage(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    load: Callable[[Path], Task],
    good: Sequence[dict],
    bad: object,
    why: str,
) -> None:
    """A bad row among good ones is named and left out; among too few it is an error."""
    path = write(tmp_path / "damaged.jsonl", [*good, bad])
    load(path)
    assert f"{path}:{len(good) + 1}: " in caplog.text and why in caplog.text
    with pytest.raises(UserError, match=r"1 of 2 rows cannot be used, the first is .*damaged\.jsonl:2: "):
        load(write(path, [good[0], bad]))


def gsm8k_rows(n: int, start: int = 0) -> list[dict]:
    return [
        {
            "question": f"Ann has {i} pears and buys 2 more. How many has she?",
            "answer": f"She has {i}+2 = <<{i}+2={i + 2}>>{i + 2} pears.\n#### {i + 2}",
        }
        for i in range(start, start + n)
    ]


def omni_row(i: int, **changes: object) -> dict:
    return {
        "domain": ["Mathematics -> Algebra -> Other", "Mathematics -> Geometry"],
        "difficulty": 1.0 + i % 9,
        "problem": f"Find the integer $n$ with $n - {i} = 0$.",
        "solution": f"Add {i} to both sides.",
        "answer": f"{i}",
        "source": "made up",
        **changes,
    }


def mbpp_row(number: int, **changes: object) -> dict:
    return {
        "text": f"Write a function to add {number} to a number.",
        "code": f"def helper(x):\r\n  return x\r\ndef add_{number}(x):\r\n  return helper(x) + {number}",
        "task_id": number,
        "test_setup_code": "",
        "test_list": [f"assert add_{number}({x}) == {x + number}" for x in range(3)],
        "challenge_test_list": [f"assert add_{number}(-1) == {number - 1}"],
        **changes,
    }


def humaneval_row(i: int, **changes: object) -> dict:
    return {
        "task_id": f"Toy/{i}",
        "prompt": f'from typing import List\n\ndef total_{i}(xs: List[int]) -> int:\n    """Sum of xs, plus {i}."""\n',
        "canonical_solution": f"    return sum(xs) + {i}\n",
        "test": f"def check(candidate):\n    assert candidate([1, 2]) == {3 + i}\n    assert candidate([]) == {i}\n",
        "entry_point": f"total_{i}",
        **changes,
    }


def packed(cases: object) -> str:
    """Private test cases as upstream packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def contest_row(i: int, kind: str = "functional", **changes: object) -> dict:
    """Double a number: as a method of a class, or from standard input."""
    cases = [{"input": f"{x}", "output": f"{2 * x}", "testtype": kind} for x in (i, i + 1, i + 2)]
    return {
        "question_title": "double",
        "question_content": f"Double the number. Variant {i}.",
        "platform": "leetcode",
        "question_id": f"{1000 + i}",
        "contest_id": "weekly-1",
        "contest_date": f"2024-0{1 + i % 9}-15T00:00:00",
        "starter_code": "class Solution:\n    def double(self, n: int) -> int:\n        "
        if kind == "functional"
        else "",
        "difficulty": "easy",
        "public_test_cases": json.dumps(cases[:1]),
        "private_test_cases": packed(cases[1:]),
        "metadata": json.dumps({"func_name": "double"} if kind == "functional" else {}),
        **changes,
    }


def instruct_row(i: int, **changes: object) -> dict:
    return {
        "id": f"id-{i}",
        "input": f"Write a function that adds {i} to its argument.",
        "output": f"```python\ndef plus(x: int) -> int:\n    return x + {i}\n```",
        "domain": "generic",
        "generation_algorithm": "self-instruct",
        "llm_judgement": "{}",
        "unit_tests": json.dumps([f"\nassert plus(1) == {1 + i}\n", f"\nassert plus(0) == {i}\n"]),
        "tests_execution_status": '["pass", "pass"]',
        "average_test_score": "1.0",
        **changes,
    }


def sharded_row(i: int, **changes: object) -> dict:
    return {
        "task_id": f"toy/{i}",
        "task": "math",
        "question": f"Bo has 1,200 nuts and eats {i}. How many are left?",
        "answer": f"How many? ** 1200 - {i} = <<1200-{i}={1200 - i}>>{1200 - i}\n#### {1200 - i}",
        "shards": [
            {"shard_id": 3, "shard": f"Bo eats {i} of them."},
            {"shard_id": 1, "shard": "How many nuts are left?"},
            {"shard_id": 2, "shard": "Bo has 1200 nuts."},
        ],
        **changes,
    }


def sharded_code_row(i: int, **changes: object) -> dict:
    row = humaneval_row(i)
    return {
        "task_id": f"toy-code/{i}",
        "task": "code",
        "source": "humaneval",
        "prompt": row["prompt"],
        "canonical_solution": row["canonical_solution"],
        "metadata": {"func_name": row["entry_point"]},
        "public_test_cases": json.dumps([{"input": "[1, 2]", "output": f"{3 + i}", "testtype": "functional"}]),
        "shards": [{"shard_id": 1, "shard": "sum up a list"}, {"shard_id": 2, "shard": f"then add {i}"}],
        **changes,
    }
