"""Functions of one's own, named in a gin file, reach a whole training run and change what it does."""

import own_functions
import pytest
from run_toys import read_lines

from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import load_experiment

GIN = """
from __gin__ import dynamic_registration
import own_functions
import run_toys
from sml_jax.dialogue import rules
from sml_jax.dialogue import teachers
from sml_jax.learn import losses
from sml_jax.learn import methods
from sml_jax.learn import optimizers
from sml_jax.run import chats
from sml_jax.run import experiment
from sml_jax.run.stages import offline
from sml_jax.run.stages import online
experiment.Experiment.task = @run_toys.ToyTask()
experiment.Experiment.base = @own_functions.toy_base()
experiment.Experiment.chat = @chats.RoleChat()
experiment.Experiment.rules = @rules.DialogueRules()
experiment.Experiment.teacher = @teachers.Scripted()
experiment.Experiment.max_concurrent = 16
experiment.Experiment.stages = [@online.Online()]
rules.DialogueRules.max_turns = 2
rules.DialogueRules.student_tokens = 4
rules.DialogueRules.teacher_tokens = 4
rules.DialogueRules.private_tokens = 6
online.Online.steps = 2
online.Online.problems_per_step = 4
online.Online.group_size = 4
online.Online.micro_batch_size = 8
online.Online.method = @methods.Grpo()
online.Online.loss = @losses.PolicyLoss()
online.Online.optimizer = @optimizers.adamw()
offline.Offline.problems = 4
offline.Offline.samples = 2
offline.Offline.epochs = 1
offline.Offline.batch = 8
offline.Offline.micro_batch_size = 8
offline.Offline.optimizer = @optimizers.adamw()
methods.Grpo.normalize = True
teachers.Function.threads = 0
"""


@pytest.fixture
def train(tokenizer, tmp_path):
    """`train(name, *bindings)` trains as the gin file says and returns the lines of metrics and the dialogues.

    `gin` are lines that the gin file has besides, such as imports.
    """
    recipe = tmp_path / "mine.gin"

    def run(name, *bindings, gin=""):
        own_functions.CALLS.clear()
        first, others = GIN.lstrip().split("\n", 1)
        recipe.write_text(f"{first}\n{gin}\n{others}chats.RoleChat.tokenizer = '{tokenizer}'\n")
        experiment, text = load_experiment([str(recipe)], bindings)
        experiment.train(tmp_path / name, text)
        return read_lines(tmp_path / name / "metrics.jsonl"), read_lines(tmp_path / name / "dialogues.jsonl")

    return run


@pytest.mark.extra
def test_a_teacher_a_return_and_a_loss(train):
    plain, _ = train("plain")
    lines, dialogues = train(
        "own",
        "Experiment.teacher=@teachers.Function()",
        "teachers.Function.function=@own_functions.my_teacher",
        "Grpo.returns=@own_functions.my_returns",
        "Online.loss=@own_functions.my_loss",
    )
    assert set(own_functions.CALLS) == {"teacher", "returns", "loss"}
    # The teacher's words are in every dialogue that has a second turn.
    replies = [turn["text"] for dialogue in dialogues for turn in dialogue["turns"][2::2]]
    assert replies and {text.strip() for text in replies} == {"3b"}
    # The return is that of lengths, so every group has variance unless all its dialogues are of one length.
    assert all(line["return"] < 0 for line in lines)
    # The loss is ten times as large, and what it says of itself is logged in place of the clip.
    trained = [line for line in lines if line["dialogues_trained"]]
    assert trained and all(line["my_metric"] == pytest.approx(2.5) for line in trained)
    assert all("clip_fraction_low" not in line for line in trained)
    # Nothing says of it that it has no gradient where advantages are 0, so every dialogue is computed.
    assert all(line["dialogues_trained"] == 16 for line in trained)
    assert lines[0]["gradient_norm"] != plain[0].get("gradient_norm")


@pytest.mark.extra
def test_a_method_in_either_stage(train):
    lines, _ = train(
        "own",
        "Experiment.stages=[@online.Online(), @offline.Offline()]",
        "Online.method=@own_functions.teachers_tokens",
        "Offline.method=@own_functions.teachers_tokens",
        "Online.group_size=1",
    )
    assert own_functions.CALLS == {"method": 2 + 1 + 1}
    assert [line["stage"] for line in lines] == ["online", "online", "offline_rollout", "offline"]
    for line in (*lines[:2], lines[3]):
        assert line["nll"] > 0 and line["student_tokens"] == line["given_tokens"] > 0
    assert lines[2]["kept"] == 8, "dialogues that were not solved are trained on too"


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("Online.method=@methods.Grpo", r"online: method is the class Grpo: write Grpo\(\)"),
        ("Online.method=@own_functions.my_returns", r"method my_returns returned a ndarray: return a learn.Signals"),
        ("Grpo.returns=@own_functions.teachers_tokens", "returns gave an array of shape .* give one number a dialogue"),
    ],
)
def test_what_cannot_be_is_said(train, binding, message):
    with pytest.raises(UserError, match=message):
        train("wrong", binding)
