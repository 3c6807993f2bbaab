"""Teachers of one's own, a function and a class, are named in gin and teach in training and evaluation."""

import dataclasses
import sys

import gin
import pytest
from run_toys import OPTIMIZER, read_lines, toy_experiment

from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import load_experiment
from sml_jax.run.stages import Online

TEACHERS = """
from dataclasses import dataclass

from sml_jax.dialogue import Script


def kind(task, problem, conversation, verdict):
    return "a" * len(conversation)


@dataclass(frozen=True)
class Patient(Script):
    word: str = "b"
    name: str = "patient"

    def reply(self, task, problem, conversation, verdict):
        return self.word
"""
RECIPE = """
from __gin__ import dynamic_registration
from sml_jax.dialogue import teachers
from sml_jax.evaluate import suites
from sml_jax.run import experiment
import {module}
import run_toys

experiment.Experiment.task = @run_toys.ToyTask()
experiment.Experiment.teacher = @teachers.Function()
teachers.Function.function = @{module}.kind
teachers.Function.name = 'kind'
experiment.Experiment.suites = [@suites.Suite()]
suites.Suite.task = @run_toys.ToyTask()
suites.Suite.arms = (@{module}.Patient(), @teachers.Scripted())
suites.Suite.problems = 3
suites.Suite.max_turns = 2
{module}.Patient.word = '?'
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads a recipe with these lines after it, whose teachers are in a module of the user's."""
    (tmp_path / "my_teachers.py").write_text(TEACHERS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(*lines: str):
        recipe = tmp_path / "mine.gin"
        recipe.write_text("\n".join([RECIPE.format(module="my_teachers"), *lines]))
        return load_experiment([str(recipe)], [])[0]

    yield load
    gin.clear_config()
    sys.modules.pop("my_teachers", None)


def test_they_teach(loaded, tokenizer, tmp_path):
    recipe = loaded()
    stage = Online(OPTIMIZER, steps=1, problems_per_step=4, group_size=4, micro_batch_size=8, dialogues_logged=16)
    experiment = toy_experiment(tokenizer, [stage])
    dataclasses.replace(experiment, teacher=recipe.teacher, suites=recipe.suites).train(tmp_path / "run", "")
    replies: dict[str, set[str]] = {}
    for dialogue in read_lines(tmp_path / "run" / "dialogues.jsonl"):
        said = {turn["text"] for turn in dialogue["turns"][1:] if turn["role"] == "teacher"}
        replies.setdefault(dialogue["arm"], set()).update(said)
    assert replies == {"kind": {"aa"}, "patient": {"?"}, "scripted": {"ba"}}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("experiment.Experiment.teacher = 'scripted'", "write an object, such as @teachers.Feedback"),
        ("suites.Suite.arms = ('feedback', 'retry')", "write objects, such as .@teachers.Feedback"),
        (
            "experiment.Experiment.teacher_arm = 'feedback'",
            "teacher_arm is gone: write Experiment.teacher = ",
        ),
        ("experiment.Experiment.retry_text = 'no'", "retry_text is gone: write teachers.Retry.text = "),
        ("experiment.Experiment.teacher = @run_toys.ToyTask()", "takes TeacherSpec"),
    ],
)
def test_what_is_no_teacher_is_an_error_with_its_cure(loaded, line, says):
    with pytest.raises(UserError, match=says):
        loaded(line)
