"""Each signal trains from a gin file: the shipped fragments read behind every online recipe, and run on the toy."""

import re
from pathlib import Path

import numpy as np
import pytest
from own_functions import SayingTask
from test_own_functions import train  # noqa: F401

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rollout import play
from sml_jax.gin_config.load import load_experiment
from sml_jax.learn import CritiquePrediction, Grpo, InformationGain, SelfDistillation, TurnReturns
from sml_jax.run.answer_logprob import transcript_for

ROOT = Path(__file__).resolve().parents[2]
FRAGMENTS = {path.stem: path for path in sorted((ROOT / "gin" / "signals").glob("*.gin"))}
CLASSES = {
    "critique_prediction": CritiquePrediction,
    "information_gain": InformationGain,
    "self_distillation": SelfDistillation,
    "turn_returns": TurnReturns,
}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fragment_reads_behind_a_recipe_as_its_head_says(name):
    files = re.findall(r"--gin_file=(\S+)", FRAGMENTS[name].read_text())
    assert files[-1] == f"gin/signals/{name}.gin"
    experiment, _ = load_experiment([str(ROOT / file) for file in files], [])
    (stage,) = experiment.stages
    assert isinstance(stage.method, CLASSES[name])


@pytest.mark.extra
def test_critique_prediction_trains_also_where_no_dialogue_succeeds(train):  # noqa: F811
    lines, _ = train(
        "critique",
        "Online.method=@critique_prediction.CritiquePrediction()",
        "run_toys.ToyTask.impossible='0123'",
        gin="from sml_jax.learn import critique_prediction",
    )
    assert [line["dialogues_trained"] for line in lines] == [16, 16]
    assert all(line["nll"] > 0 and line["policy_loss"] == 0 and line["likelihood_loss"] > 0 for line in lines)
    # The scripted teacher says "ba": two tokens, perhaps a space before, and the end.
    assert all(line["likelihood_tokens"] % 16 == 0 for line in lines)


@pytest.mark.extra
def test_turn_returns_train(train):  # noqa: F811
    lines, _ = train("turns", "Online.method=@turn_credit.TurnReturns()", gin="from sml_jax.learn import turn_credit")
    assert all(line["groups"] == 4 and line["gradient_norm"] > 0 for line in lines if line["dialogues_trained"])
    assert sum(line["dialogues_trained"] for line in lines)


@pytest.mark.extra
def test_self_distillation_trains_beside_grpo_and_compiles_once(train):  # noqa: F811
    lines, _ = train(
        "distil",
        "Online.method=@self_distillation.SelfDistillation()",
        "Online.optimizer=@optimizers.with_ema()",
        "optimizers.with_ema.optimizer=@optimizers.adamw()",
        "SelfDistillation.divergence=@divergence.jensen_shannon",
        gin="from sml_jax.learn import divergence\nfrom sml_jax.learn import self_distillation",
    )
    assert len(lines) == 2 and all(0 < line["divergence"] < 0.7 for line in lines)
    assert all(line["distill_tokens"] > 0 and line["skipped"] == 0 for line in lines)


@pytest.mark.extra
def test_information_gain_trains_on_what_is_measured_behind_the_dialogues(train, new_run):  # noqa: F811
    gain = {"gin": "from sml_jax.learn import turn_credit"}
    method = "Online.method=@turn_credit.InformationGain()"
    lines, _ = train("gain", method, "Experiment.task=@own_functions.SayingTask()", **gain)
    assert all(np.isfinite(line["information_gain"]) for line in lines)
    assert any(line["information_gain"] != 0 and line["gradient_norm"] > 0 for line in lines)
    with pytest.raises(UserError, match="the task toy has no gold_utterance"):
        train("silent", method, **gain)
    # Each student token has the likelihood of its turn, and the dialogues are those of a run that measures nothing.
    run = new_run(task=SayingTask())
    context = run.context
    problems = context.task.problems("train")[:4]
    engine = context.engine(context.task, context.rules, "train")
    rollout = context.task, problems, context.framing, engine, context.initial
    played = play(*rollout, context.teacher, context.rules, seed=0, group_size=2)
    script = transcript_for(InformationGain(), played, *rollout)
    assert transcript_for(Grpo(), played, *rollout).answer_logprob is None
    assert (script.answer_logprob[script.turn > 0] < 0).all() and not script.answer_logprob[script.turn == 0].any()
    np.testing.assert_array_equal(script.tokens, played.transcript.tokens)
    for row, turn in zip(*np.nonzero(np.arange(2) < script.turns[:, None]), strict=True):
        assert len(np.unique(script.answer_logprob[row][script.turn[row] == turn + 1])) == 1
