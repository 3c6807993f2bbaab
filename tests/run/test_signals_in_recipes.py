"""Each signal trains from a gin file: the shipped fragments read behind every online recipe, and run on the toy."""

import re
from pathlib import Path

import pytest
from test_own_functions import train  # noqa: F401

from sml_jax.gin_config.load import load_experiment
from sml_jax.learn import CritiquePrediction, InformationGain, SelfDistillation, TurnReturns

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


def test_turn_returns_train(train):  # noqa: F811
    lines, _ = train("turns", "Online.method=@turn_credit.TurnReturns()", gin="from sml_jax.learn import turn_credit")
    assert all(line["groups"] == 4 and line["gradient_norm"] > 0 for line in lines if line["dialogues_trained"])
    assert sum(line["dialogues_trained"] for line in lines)


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
