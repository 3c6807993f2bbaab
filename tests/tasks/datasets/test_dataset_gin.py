"""Each data set's gin file gives a recipe its task or its suites."""

from pathlib import Path

import pytest
from dataset_toys import (
    contest_row,
    gsm8k_rows,
    humaneval_row,
    instruct_row,
    mbpp_row,
    omni_row,
    sharded_code_row,
    sharded_row,
    write,
)

from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import load_experiment
from sml_jax.tasks import Task

ROOT = Path(__file__).resolve().parents[3]
MATH = {"problem": "Halve 4.", "solution": "It is \\boxed{2}.", "level": "Level 1", "type": "Algebra"}
FILES = {
    "GSM8K_TRAIN": gsm8k_rows(4),
    "GSM8K_TEST": gsm8k_rows(2, 50),
    "MATH_TRAIN": [MATH],
    "MATH_TEST": [{**MATH, "problem": "Halve four."}],
    "OMNI_MATH": [omni_row(i) for i in range(510)],
    "MBPP": [mbpp_row(n) for n in (20, 700)],
    "OPEN_CODE_INSTRUCT": [instruct_row(i) for i in range(30)],
    "HUMANEVAL": [humaneval_row(1)],
    "LIVE_CODE_BENCH": [contest_row(1)],
    "SHARDED": [sharded_row(1), sharded_code_row(1)],
    "MATH_ROWS": gsm8k_rows(3),
}
TRAINING = {
    "gsm8k": ["GSM8K_TRAIN", "GSM8K_TEST"],
    "math": ["MATH_TRAIN", "MATH_TEST"],
    "omni_math": ["OMNI_MATH"],
    "mbpp": ["MBPP"],
    "open_code_instruct": ["OPEN_CODE_INSTRUCT"],
}
EVALUATION = {
    "humaneval": ["HUMANEVAL"],
    "live_code_bench": ["LIVE_CODE_BENCH"],
    "sharded_math": ["SHARDED"],
    "sharded_code": ["SHARDED"],
    "math_rows": ["MATH_ROWS"],
}


def bindings(folder: Path, *names: str) -> list[str]:
    return [f"{name}={write(folder / f'{name}.jsonl', FILES[name])}" for name in names]


def gin_file(name: str) -> str:
    return str(ROOT / "gin" / "tasks" / f"{name}.gin")


@pytest.mark.parametrize("name", TRAINING)
def test_training_tasks(tmp_path: Path, name: str) -> None:
    experiment, _ = load_experiment([gin_file(name)], bindings(tmp_path, *TRAINING[name]))
    assert isinstance(experiment.task, Task) and experiment.task.problems("train")
    (suite,) = experiment.suites
    assert suite.task.problems("test") and suite.task.name == experiment.task.name
    with pytest.raises(UserError, match=TRAINING[name][0]):
        load_experiment([gin_file(name)], [])


@pytest.mark.parametrize("name", EVALUATION)
def test_evaluation_tasks_after_a_recipe(tmp_path: Path, name: str) -> None:
    given = bindings(tmp_path, "GSM8K_TRAIN", "GSM8K_TEST", *EVALUATION[name])
    experiment, _ = load_experiment([gin_file("gsm8k"), gin_file(name)], given)
    assert experiment.task.name == "gsm8k"
    (suite,) = experiment.sharded_suites if name.startswith("sharded") else experiment.suites
    assert suite.task.name == name and len(suite.task.problems("test")) == (3 if name == "math_rows" else 1)
    assert suite.prompts.student == ("student_math" if "math" in name else "student_code")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("gsm8k", "gsm8k.gsm8k"),
        ("math", "hendrycks_math.hendrycks_math"),
        ("omni_math", "omni_math.omni_math"),
        ("math_rows", "math_rows/jsonl.JsonlTask"),
        ("sharded_math", "sharded_rows.sharded_math"),
    ],
)
def test_unmarked_values_can_be_left_out(tmp_path: Path, name: str, setting: str) -> None:
    files = bindings(tmp_path, *dict.fromkeys(["GSM8K_TRAIN", "GSM8K_TEST", *{**TRAINING, **EVALUATION}[name]]))
    gin_files = [gin_file("gsm8k"), *([gin_file(name)] if name != "gsm8k" else [])]
    for unmarked in (True, False):
        experiment, _ = load_experiment(gin_files, [*files, f"{setting}.unmarked={unmarked}"])
        (suite,) = experiment.sharded_suites if name.startswith("sharded") else experiment.suites
        problem = suite.task.problems("test")[0]
        said = [(problem, f"So it is {problem.answer}."), (problem, f"The answer is {problem.answer}.")]
        assert [verdict.correct for verdict in suite.task.verify(said)] == [unmarked, True]
