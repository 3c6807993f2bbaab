"""A student that says hostile programs, through a whole rollout: no reward, nothing left, and the dialogues go on."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import pytest
from dialogue_toys import put_on_stage, tiny_engine, tiny_model

sys.path.insert(0, str(Path(__file__).parents[1] / "tasks"))
from hostile_programs import CONTAINED, FORGED
from test_hostile_programs import LIMITS, TESTS, WAYS, outside  # noqa: F401 - a fixture

from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teachers import Retry
from sml_jax.models.decoder import init_params
from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.code.task import CodeTask

pytestmark = pytest.mark.skipif(not WAYS, reason="this machine has no walls to offer")
QUICK = [
    "sys_exit",
    "os_exit_in_call",
    "equal_object",
    "equal_int",
    "verdict_on_every_file",
    "reply_forged",
    "gc_searched",
]
QUICK += ["daemon", "tcp", "writes_outside", "kill_parent", "fork_bomb", "crash", "flood", "disk_filled"]
RIGHT = "def f(x): return x * x + 1"


def converse(monkeypatch, chat, programs: list[str]) -> None:
    problem = CodeProblem("p", "write f", RIGHT, tests=TESTS)
    task = CodeTask("code", {"train": [problem]}, LIMITS, workers=4)
    rules = DialogueRules(max_turns=2, student_tokens=1800, teacher_tokens=30, private_tokens=200)

    def say(heard):
        second = list(heard.context).count(chat.open_student[0]) > 1
        code = RIGHT if second else programs[heard.dialogue]
        return f"```python\n{code}\n```"

    put_on_stage(monkeypatch, chat, say)
    model = tiny_model(chat, max_length=4096)
    engine = tiny_engine(model, chat, task_of(task), rules, rows=8)
    played = play(
        task,
        [problem] * len(programs),
        chat,
        engine,
        init_params(model, jax.random.key(0)),
        Retry(),
        rules,
        seed=0,
    )
    assert len(played.dialogues) == len(programs)
    for program, dialogue in zip(programs, played.dialogues, strict=True):
        assert not dialogue.verdicts[0].correct and dialogue.verdicts[0].attempted, program
        assert dialogue.solved_turn == 2, (program, dialogue.verdicts)


def task_of(task: CodeTask):
    """The task, asked for the problems of its one split."""

    class OfTrain:
        def __getattr__(self, name):
            return getattr(task, name)

        def problems(self, split: str = "train"):
            return task.problems("train")

    return OfTrain()


def test_hostile_turns_get_no_reward_and_the_dialogues_go_on(monkeypatch, chat, outside) -> None:  # noqa: F811
    programs = {**FORGED, **CONTAINED}
    converse(monkeypatch, chat, [outside.fill(programs[name]) for name in QUICK])


@pytest.mark.slow
def test_all_of_them_through_a_rollout(monkeypatch, chat, outside) -> None:  # noqa: F811
    """About 2 minutes."""
    converse(monkeypatch, chat, [outside.fill(code) for code in {**FORGED, **CONTAINED}.values()])
