"""HumanEval."""

import gzip
from pathlib import Path

import pytest
from dataset_toys import check_damage, humaneval_row, write

from sml_jax.common.errors import UserError
from sml_jax.tasks.datasets.humaneval import humaneval


def test_rows(tmp_path: Path) -> None:
    plain = write(tmp_path / "HumanEval.jsonl", [humaneval_row(i) for i in range(3)])
    zipped = tmp_path / "HumanEval.jsonl.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    task = humaneval(zipped)
    assert task.problems("test") == humaneval(plain).problems("test")
    problem = task.problems("test")[2]
    assert (problem.id, problem.entry) == ("humaneval:Toy/2", "total_2")
    assert problem.prefix == humaneval_row(2)["prompt"] and problem.prefix.strip() in problem.question
    program = f"```python\n{problem.solution}\n```"
    body = "```python\ndef total_2(xs):\n    return sum(xs)\n```"
    assert [v.correct for v in task.verify([(problem, program), (problem, body)])] == [True, False]
    with pytest.raises(UserError, match="train"):
        task.problems("train")


def test_an_answer_does_not_replace_the_helpers_of_the_prompt(tmp_path: Path) -> None:
    prompt = "import math\n\ndef poly(xs, x):\n    return sum(c * math.pow(x, i) for i, c in enumerate(xs))\n\n\n"
    prompt += 'def zero_2(xs):\n    """Where poly is 0."""\n'
    row = humaneval_row(2, prompt=prompt, entry_point="zero_2", canonical_solution="    return -xs[0] / xs[1]\n")
    row["test"] = "def check(candidate):\n    assert abs(poly([1, 2], candidate([1, 2]))) < 1e-4\n"
    task = humaneval(write(tmp_path / "HumanEval.jsonl", [row]))
    problem = task.problems("test")[0]
    answers = [
        problem.solution,
        "def zero_2(xs):\n    return -xs[0] / poly([xs[1]], 0)",
        "def poly(xs, x):\n    return 0.0\ndef zero_2(xs):\n    return 7",
    ]
    verdicts = task.verify([(problem, f"```python\n{answer}\n```") for answer in answers])
    assert [verdict.correct for verdict in verdicts] == [True, True, False]


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"entry_point": "a b"}, "not the name of a function"), ({"prompt": None}, "NoneType"), ({"task_id": 3}, "int")],
)
def test_damage(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    good_rows = [humaneval_row(i) for i in range(12)]
    check_damage(tmp_path, caplog, humaneval, good_rows, humaneval_row(50, **changes), why)
