"""The first hour: the commands of docs/first_hour.md, read out of the page."""

import json
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sml_jax.dialogue.teachers import Retry, Scripted
from sml_jax.gin_config.load import load_experiment

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "first_hour.md"
FOLDER = "/tmp/first_hour"  # as the page calls it
MODEL = "smollm2-135m-instruct-q4_1.gguf"


def commands(folder: Path) -> list[str]:
    """The page's commands in their order, with `folder` in the place of its own."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    lines = [block if "<<" in block else block.replace("\\\n", " ") for block in blocks]
    split = [[block] if "<<" in block else block.strip().splitlines() for block in lines]
    return [command.replace(FOLDER, str(folder)) for block in split for command in block]


def test_the_recipe_takes_the_settings_of_the_page(tmp_path):
    rows, (train,) = tmp_path / "rows.jsonl", [c for c in commands(tmp_path) if c.startswith("sml-jax train")]
    subprocess.run(["bash", "-c", next(c for c in commands(tmp_path) if "<<" in c)], check=True)
    assert len(rows.read_text().splitlines()) == 19 * 19
    flags = shlex.split(train)[2:]
    files = [flag.partition("=")[2] for flag in flags if flag.startswith("--gin_file=")]
    bindings = [flag.removeprefix("--gin.") for flag in flags if flag.startswith("--gin.")]
    experiment, _ = load_experiment(files, bindings)
    (stage,), (suite,) = experiment.stages, experiment.suites
    assert experiment.teacher == Scripted() and [type(arm) for arm in suite.arms] == [Scripted, Retry]
    assert (stage.steps, stage.problems_per_step, suite.problems) == (6, 4, 24)
    # The same file gives both splits, and none of the held-out problems is trained on.
    train_questions, test_questions = (
        {problem.question for problem in experiment.task.problems(split)} for split in ("train", "test")
    )
    assert len(train_questions) + len(test_questions) == 19 * 19 and not train_questions & test_questions


def used_so_far() -> tuple[float, float]:
    """Seconds of a processor of all processes that this one has started and that have ended; the most GB of any."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9


@pytest.mark.slow
def test_the_first_hour(tmp_path):
    """All commands: `pytest -s -m slow tests/test_first_hour.py`, half an hour on two cores.

    It prints how long each took by the clock, how much time of a processor it used, and the most memory that any
    process had so far.
    """
    cache = Path(os.environ.get("SML_JAX_CACHE") or Path.home() / ".cache" / "sml-jax")
    if not (cache / MODEL).is_file():
        pytest.skip(f"no {cache / MODEL}: python benchmarks/real_models.py smollm2 fetches it")
    # The commands find this clone and this Python, and run outside the settings of the tests.
    tests_only = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "XLA_FLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in tests_only}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    # What a person would type into the chat.
    typed = "Check each step and try again.\n/save\n/quit\n"
    for command in commands(tmp_path):
        started, (used, _) = time.monotonic(), used_so_far()
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=environment, input=typed, text=True, capture_output=True
        )
        seconds, (processor, memory) = time.monotonic() - started, used_so_far()
        print(
            f"{seconds:7.0f} s, {processor - used:7.0f} s of a processor, {memory:5.1f} GB  {command.splitlines()[0]}",
            flush=True,
        )
        print(done.stdout)
        assert done.returncode == 0, done.stderr

    results = json.loads((tmp_path / "run" / "eval.json").read_text())["own_rows"]
    assert set(results) == {"base", "trained"} and results["trained"]["scripted"]["n"] == 24
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "online"] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if line["stage"] == "evaluation"] == [0, 6]
    (dialogue,) = map(json.loads, (tmp_path / "chat.jsonl").read_text().splitlines())
    assert [turn["role"] for turn in dialogue["turns"][:2]] == ["teacher", "student"]
    # What is handed on is complete: weights, tokenizer and chat template.
    names = {"config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"}
    assert names <= {file.name for file in (tmp_path / "trained").iterdir()}
    assert list((tmp_path / "trained").glob("*.safetensors")) and (tmp_path / "adapters").is_dir()
    assert (tmp_path / "trained.gguf").stat().st_size > 200e6
