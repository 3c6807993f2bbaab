"""MATH from folders and from mirrors."""

import json
from pathlib import Path

import pytest
from dataset_toys import check_damage, write

from sml_jax.common.errors import UserError
from sml_jax.tasks.datasets.hendrycks_math import hendrycks_math


def row(i: int, subject: str = "Algebra") -> dict:
    solution = f"We find \\boxed{{x}} first, and so the answer is $\\boxed{{\\frac{{{i}}}{{2}}}}$."
    return {"problem": f"{subject}: halve ${i}$.", "level": "Level 2", "type": subject, "solution": solution}


def folder(root: Path, rows: list[dict]) -> Path:
    for i, one in enumerate(rows):
        path = root / one["type"].lower() / f"{i}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(one, indent=4))
    return root


def test_folders(tmp_path: Path) -> None:
    rows = [row(i, subject) for subject in ("Algebra", "Geometry") for i in range(20)]
    train, test = folder(tmp_path / "train", rows), folder(tmp_path / "test", [row(99)])
    task = hendrycks_math(train, test)
    (problem,) = task.problems("test")
    assert (problem.id, problem.question) == ("math:test:algebra/0:1", "Algebra: halve $99$.")
    assert (problem.answer, problem.domain) == ("\\frac{99}{2}", "Algebra")
    assert problem.solution == row(99)["solution"]
    subjects = [p.domain for p in task.problems("train")]
    assert len(subjects) == 40 and {"Algebra", "Geometry"} == set(subjects[:10])
    mirror = hendrycks_math(write(tmp_path / "train.jsonl", rows), write(tmp_path / "test.jsonl", [row(99)]))
    assert [p.question for p in mirror.problems("train")] == [p.question for p in task.problems("train")]
    assert mirror.problems("test")[0].id == "math:test:1"


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"solution": "no answer at all"}, "no \\boxed{} answer"), ({"problem": 3}, "int, not a string")],
)
def test_damage(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    test = write(tmp_path / "test.jsonl", [row(99)])
    bad = {**row(50), **changes}
    check_damage(tmp_path, caplog, lambda path: hendrycks_math(path, test), [row(i) for i in range(12)], bad, why)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        hendrycks_math(tmp_path / "nowhere", tmp_path / "nowhere")
