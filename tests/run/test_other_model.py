"""Another model folder as the teacher: its own tokens, chat format and prompts; text crosses."""

import dataclasses
import json

import jax
import pytest
from run_toys import OPTIMIZER, RULES, ToyTask, read_lines, toy_experiment

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import HasOwnEngine, NoReply, Request, Teacher
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.dialogue.teachers import Feedback, Retry
from sml_jax.engine.engine import Engine
from sml_jax.evaluate.suites import Suite
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.plan.phases import phases_of
from sml_jax.plan.recipe import read_job
from sml_jax.pocket import world
from sml_jax.run.base_models import RandomWeights
from sml_jax.run.chats import RoleChat
from sml_jax.run.stages import Online
from sml_jax.run.teachers import OtherModel
from sml_jax.run.teachers.other_model import OtherModelTeacher
from sml_jax.sharding import make_mesh, shard_bytes
from sml_jax.tasks.problems.types import Turn, Verdict

SMALL = {"embed_dim": 16, "heads": 2, "kv_heads": 1, "head_dim": 8, "mlp_dim": 16, "tied_embeddings": False}


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    """A model of two layers with the toy tokenizer's sixteen tokens."""
    config = DecoderConfig(vocab_size=16, layers=2, max_length=96, **SMALL)
    folder = tmp_path_factory.mktemp("teacher") / "model"
    save_model(folder, config, init_params(Decoder(config), jax.random.key(5)))
    return folder


@pytest.fixture(scope="module")
def pocket_setup():
    """The pocket model as the student: task, rules, framing, engine and parameters."""
    model, params = load_model("pocket")
    framing = RoleChat().framing()
    rules = DialogueRules(max_turns=3, student_tokens=10, teacher_tokens=14, private_tokens=16)
    engine = Engine(
        model,
        max_concurrent=4,
        max_length=160,
        max_new_tokens=14,
        stop_ids=framing.stop_ids,
        suppressed_ids=framing.suppressed_ids(),
        capacities=(160,),
        chunk_sizes=(64,),
        mesh=make_mesh(over=jax.devices()[:1]),
    )
    return world.PocketMath(), rules, framing, engine, params


@pytest.mark.slow
def test_the_same_model_as_another_one_is_the_teacher_that_it_would_be(pocket_setup):
    """Text crosses, and the contexts are made anew of it: they are those of the teacher that shares the tokens."""
    task, rules, framing, engine, params = pocket_setup
    problems, store = task.problems("test")[:6], TeacherStore()
    other = OtherModel("pocket", RoleChat("pocket"), max_context=160, name="feedback")
    played = [
        play(task, problems, framing, engine, params, teacher, rules, seed=3, store=store)
        for teacher in (Feedback(), other, other)
    ]
    assert sum(len(d.turns) for d in played[0].dialogues) > 20
    assert played[1].dialogues == played[0].dialogues == played[2].dialogues
    # One model and one engine for all rollouts.
    assert len(store.loaded) == 2


@pytest.fixture
def student(teacher_folder, tokenizer):
    """A student of the pocket's 388 tokens, with a teacher of the toy's 16."""
    config = DecoderConfig(vocab_size=388, layers=1, max_length=128, **SMALL)

    def make(teacher, **settings):
        stage = Online(OPTIMIZER, steps=1, problems_per_step=4, group_size=2, micro_batch_size=8, dialogues_logged=8)
        suite = Suite(
            ToyTask(),
            (teacher, dataclasses.replace(teacher, knows="none", name="uninformed"), Retry("a")),
            problems=4,
            max_turns=2,
        )
        plain = {"base": RandomWeights(config), "chat": RoleChat("pocket"), "teacher": teacher, "suites": [suite]}
        return toy_experiment(tokenizer, [stage], **{**plain, **settings})

    return make, OtherModel(str(teacher_folder), RoleChat(str(tokenizer)), reply_tokens=4)


@pytest.mark.extra
def test_it_teaches_in_training_and_evaluation_in_tokens_of_its_own(student, tmp_path):
    make, teacher = student
    make(teacher).train(tmp_path, "# toy\n")
    said: dict[str, list[str]] = {}
    for dialogue in read_lines(tmp_path / "dialogues.jsonl"):
        assert not dialogue["dropped"]
        said.setdefault(dialogue["arm"], []).extend(turn["text"] for turn in dialogue["turns"][2::2])
    assert set(said) == {"other_model", "uninformed", "retry"}
    # What it says is of its tokenizer's characters, though the student's has the whole alphabet.
    texts = "".join(said["other_model"] + said["uninformed"])
    assert texts and set(texts) <= set("0123ab? ") | set("i can not say that")
    assert json.loads((tmp_path / "eval.json").read_text())["toy"]["trained"]["other_model"]["n"] == 4


class Silent(Teacher):
    """A model that is asked and never done."""

    def __init__(self):
        self.asked = []

    def start(self, requests):
        self.asked += requests

    def collect(self):
        return {}


def test_a_context_without_room_drops_its_dialogue_alone(tokenizer):
    framing, speaker, problem = RoleChat(str(tokenizer)).framing(), Silent(), ToyTask().problems("train")[0]
    turns = (Turn("teacher", problem.question), Turn("student", "a b"))
    short = Request(0, 0, problem, turns, Verdict(False, True), "a 0")
    long = dataclasses.replace(short, dialogue=1, row=1, turns=(*turns[:1], Turn("student", "a b" * 9)))
    room = len(framing.teacher_opening(problem.question, "a 0")) + len(framing.teacher_hears(framing.text("a b")))
    teacher = OtherModelTeacher(speaker, framing, RULES, room + len(framing.teacher_begins()) + RULES.teacher_tokens)
    teacher.start([short, long])
    reason = "the teacher's context needs 44 tokens: raise OtherModel.max_context"
    assert teacher.collect() == {1: NoReply(reason, "overlong")} and teacher.collect() == {}
    assert [request.dialogue for request in speaker.asked] == [0]


def test_what_cannot_work_is_said_before_a_weight_is_read(teacher_folder, tokenizer):
    chat = RoleChat(str(tokenizer))
    with pytest.raises(UserError, match="no model at"):
        OtherModel("nowhere", chat).check()
    with pytest.raises(UserError, match=r"max_context is 97, but the model at .* holds 96 tokens"):
        OtherModel(str(teacher_folder), chat, max_context=97).check()
    with pytest.raises(UserError, match="max_context is 0"):
        OtherModel("pocket", chat, max_context=0)
    OtherModel(str(teacher_folder), chat).check()


@pytest.mark.slow
def test_a_plan_counts_its_weights_and_its_cache(teacher_folder, tokenizer, tmp_path):
    recipe = tmp_path / "recipe.gin"
    recipe.write_text(f"""
from __gin__ import dynamic_registration
from sml_jax.run import experiment
from sml_jax.run import chats
from sml_jax.run.teachers import other_model
include 'gin/recipes/pocket_math_online.gin'
experiment.Experiment.teacher = @other_model.OtherModel()
experiment.Experiment.suites = []
other_model.OtherModel.path = '{teacher_folder}'
other_model.OtherModel.chat = @teacher/chats.RoleChat()
teacher/chats.RoleChat.tokenizer = '{tokenizer}'
""")
    mesh = make_mesh(over=jax.devices()[:1])
    job = read_job([str(recipe)], [])
    rollout, update = phases_of(job, mesh)
    teacher = OtherModel(str(teacher_folder), RoleChat(str(tokenizer)))
    engine = teacher.own_engine(RULES, job.sampling, job.max_concurrent, mesh)
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(engine.abstract_weights()))
    assert shard_bytes(rollout.state["other_model's weights"]) == weights > 0
    assert shard_bytes(rollout.state["other_model's cache"]) == shard_bytes(engine.abstract_cache())
    # Between rollouts its weights stay, and its cache does not.
    assert "other_model's weights" in update.state and "other_model's cache" not in update.state
    assert isinstance(OtherModel("pocket"), HasOwnEngine)
