"""The base model that ships: its size, its two roles, and the bad habits that there is something to learn from."""

import sys
from pathlib import Path

import jax
import pytest

from sml_jax.common.assets import SHIPPED_MODELS
from sml_jax.dialogue import DialogueRules, LanguageTeacher, Retry, play
from sml_jax.engine import Engine
from sml_jax.models import count_params, load_model
from sml_jax.pocket import ASSETS
from sml_jax.pocket.world import pocket_task
from sml_jax.sharding import make_mesh
from sml_jax.text import SentencePieceTokenizer, simple_format

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from agreement import teacher_agreement

del sys.path[0]

PROBLEMS = 96


@pytest.fixture(scope="module")
def base():
    model, params = load_model("pocket")
    chat = simple_format(SentencePieceTokenizer(ASSETS / "pocket.model"))
    engine = Engine(
        model,
        max_concurrent=64,
        max_length=256,
        max_new_tokens=14,
        stop_ids=chat.stop_ids,
        suppressed_ids=chat.suppressed_ids(),
        capacities=(256,),
        mesh=make_mesh(over=jax.devices()[:2]),
    )
    return chat, engine, params


@pytest.fixture(scope="module", params=["pocket_math", pytest.param("pocket_code", marks=pytest.mark.slow)])
def dialogues(request, base):
    """The base as student against itself as teacher, and against one that only says to try again.

    On both tasks, half a minute each: `pytest -m "slow or not slow" tests/pocket/test_base.py`.
    """
    chat, engine, params = base
    task = pocket_task(request.param)
    problems = task.problems("test")[:PROBLEMS]
    rules = DialogueRules(max_turns=4, student_tokens=10, teacher_tokens=14, private_tokens=16)
    arms = {"feedback": LanguageTeacher(engine, params), "retry": Retry()}
    return task, {
        arm: play(task, problems, chat, engine, params, teacher, rules, seed=3, arm=arm).dialogues
        for arm, teacher in arms.items()
    }


def solved(dialogues, turn):
    return sum(0 < d.solved_turn <= turn for d in dialogues) / len(dialogues)


def test_small_enough_to_ship(base):
    assert count_params(base[2]) <= 2_000_000
    assert sum(f.stat().st_size for f in SHIPPED_MODELS["pocket"].rglob("*") if f.is_file()) <= 8_000_000


@pytest.mark.extra
def test_as_teacher_it_says_what_the_scripted_teacher_says(dialogues):
    task, played = dialogues
    agreed, replies = teacher_agreement(task, played["feedback"])
    assert replies > 2 * PROBLEMS
    assert agreed / replies >= 0.98


@pytest.mark.extra
def test_single_turn_success_is_weak_but_there(dialogues):
    _, played = dialogues
    first = (solved(played["feedback"], 1) + solved(played["retry"], 1)) / 2
    assert 0.03 <= first <= 0.35  # aimed at: 5 % to 35 %; the sample's own error is about 2 points


@pytest.mark.extra
def test_feedback_helps_the_base_little_more_than_trying_again(dialogues):
    _, played = dialogues
    assert solved(played["feedback"], 4) - solved(played["retry"], 4) < 0.2


@pytest.mark.extra
def test_its_turns_end_by_themselves(dialogues):
    _, played = dialogues
    assert sum(d.truncated for d in played["feedback"]) <= len(played["feedback"]) * 0.05


@pytest.mark.extra
def test_the_same_seed_is_not_the_same_dialogue_for_each_problem(dialogues):
    _, played = dialogues
    assert len({d.turns[1].text for d in played["feedback"]}) > 20
