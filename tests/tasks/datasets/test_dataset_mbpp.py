"""MBPP."""

from pathlib import Path

import pytest
from dataset_toys import check_damage, mbpp_row, write

from sml_jax.common.errors import UserError
from sml_jax.tasks.datasets.mbpp import mbpp

NUMBERS = (1, 10, 11, 510, 511, 600, 601, 974)


def test_rows_and_splits(tmp_path: Path) -> None:
    task = mbpp(write(tmp_path / "mbpp.jsonl", [mbpp_row(n) for n in NUMBERS]))
    splits = {split: [p.id for p in task.problems(split)] for split in ("prompt", "test", "validation", "train")}
    assert list(splits.values()) == [[f"mbpp:{n}" for n in NUMBERS[i : i + 2]] for i in (0, 2, 4, 6)]
    problem = task.problems("train")[0]
    assert problem.question == (
        "Write a function to add 601 to a number.\n\nYour code should pass these tests:\n"
        "assert add_601(0) == 601\nassert add_601(1) == 602\nassert add_601(2) == 603"
    )
    assert problem.entry == "add_601" and len(problem.tests) == 3 and "\r" not in problem.solution
    verdicts = task.verify(
        [(problem, f"```python\n{problem.solution}\n```"), (problem, "```python\nadd_601 = abs\n```")]
    )
    assert [v.correct for v in verdicts] == [True, False]


def test_shown_and_challenge_tests(tmp_path: Path) -> None:
    path = write(tmp_path / "mbpp.jsonl", [mbpp_row(700)])
    (problem,) = mbpp(path, shown_tests=1, challenge_tests=True).problems("train")
    assert problem.question.endswith("tests:\nassert add_700(0) == 700") and len(problem.tests) == 4
    assert mbpp(path, shown_tests=0).problems("train")[0].question == "Write a function to add 700 to a number."
    with pytest.raises(UserError, match="shown_tests is -1"):
        mbpp(path, shown_tests=-1)


def test_one_text_is_one_problem_whatever_its_tests(tmp_path: Path, caplog) -> None:
    rows = [mbpp_row(20), mbpp_row(700, text=mbpp_row(20)["text"].upper()), mbpp_row(701)]
    assert [p.id for p in mbpp(write(tmp_path / "mbpp.jsonl", rows)).problems("train")] == ["mbpp:701"]
    assert "left out 1 training problems" in caplog.text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task_id": 975}, "not a number from 1 to 974"),
        ({"task_id": True}, "not a number from 1 to 974"),
        ({"task_id": "x"}, "not a number from 1 to 974"),
        ({"task_id": [3]}, "not a number from 1 to 974"),
        ({"test_list": []}, '"test_list" is empty'),
        ({"test_list": "assert 1"}, "not a list of strings"),
        ({"test_setup_code": 3}, "not a string"),
        ({"code": ""}, '"code" is empty'),
    ],
)
def test_damage(tmp_path: Path, caplog, changes: dict, why: str) -> None:
    good_rows = [mbpp_row(n) for n in range(601, 613)]
    check_damage(tmp_path, caplog, mbpp, good_rows, {**mbpp_row(620), **changes}, why)


def test_the_real_file(real_data: Path, caplog) -> None:
    task = mbpp(real_data / "mbpp" / "mbpp.jsonl")
    sizes = {split: len(task.problems(split)) for split in ("prompt", "test", "validation", "train")}
    # Three training problems have the text of a held-out one.
    assert sizes == {"prompt": 10, "test": 500, "validation": 90, "train": 371}
    assert "left out 3 training problems" in caplog.text
    assert all(p.entry and p.entry in p.question for split in sizes for p in task.problems(split))
