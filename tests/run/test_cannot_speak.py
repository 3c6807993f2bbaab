"""A model that cannot speak ends its run with an error; none of its evaluations reports that it solves nothing."""

import dataclasses
import json

import jax.numpy as jnp
import pytest
from run_toys import OPTIMIZER, RULES, ToyTask, toy_experiment, write_tokenizer

from sml_jax.common.errors import UserError
from sml_jax.dialogue.teachers import Feedback, Retry
from sml_jax.evaluate.suites import Suite
from sml_jax.models import load_model, save_model
from sml_jax.run.stages import Corpus, Offline, Online
from sml_jax.text.weighted_text import WeightedText

# Finite weights, whose products are not.
HUGE = 3e38


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


@pytest.fixture(scope="module")
def checkpoints(tokenizer, tmp_path_factory):
    """A sound model folder, and one whose output layer is too large to compute with."""
    from sml_jax.run.bookkeeper import Bookkeeper
    from sml_jax.run.io.folder import RunFolder

    folder = tmp_path_factory.mktemp("models")
    with RunFolder(folder / "run") as run_folder:
        context = toy_experiment(tokenizer)._context(Bookkeeper(run_folder))
    save_model(folder / "sound", context.model.config, context.initial)
    kernel = context.initial["params"]["output"]["kernel"]
    huge = {**context.initial["params"], "output": {"kernel": jnp.full_like(kernel, HUGE)}}
    save_model(folder / "huge", context.model.config, {"params": huge})
    load_model(folder / "huge")  # its weights are finite
    return folder


@pytest.mark.parametrize("arm", [Feedback(), pytest.param(Retry(), marks=pytest.mark.slow)], ids=lambda arm: arm.name)
def test_an_evaluation_reports_nothing_of_it(tokenizer, checkpoints, tmp_path, arm):
    suite = Suite(ToyTask(), problems=4, max_turns=2, arms=(arm,))
    experiment = toy_experiment(tokenizer, suites=[suite], base=_pretrained(checkpoints / "sound"))
    with pytest.raises(UserError, match=r"the model cannot speak: its logits are not finite"):
        experiment.evaluate(str(checkpoints / "huge"), tmp_path, "")
    assert not (tmp_path / "eval.json").exists()
    # The same checkpoint beside itself is fine.
    experiment.evaluate(str(checkpoints / "sound"), tmp_path, "")
    assert json.loads((tmp_path / "eval.json").read_text())["toy"]["trained"]


@pytest.mark.parametrize("stage", ["online", pytest.param("offline", marks=pytest.mark.slow)])
def test_a_rollout_in_training_ends_the_run(tokenizer, checkpoints, tmp_path, stage):
    stages = {
        "online": Online(OPTIMIZER, steps=2, problems_per_step=2, group_size=2, micro_batch_size=4),
        "offline": Offline(OPTIMIZER, problems=2, samples=2, epochs=1, batch=4, micro_batch_size=4),
    }
    experiment = toy_experiment(tokenizer, [stages[stage]], base=_pretrained(checkpoints / "huge"))
    with pytest.raises(UserError, match=r"the model cannot speak: its logits are not finite"):
        experiment.train(tmp_path, "")
    assert not (tmp_path / "checkpoints" / "final").exists()


def test_a_teacher_that_cannot_speak_ends_the_rollout_too(tokenizer, checkpoints, tmp_path):
    """Also where the student can: no dialogue is dropped for it."""
    suite = Suite(ToyTask(impossible="0123"), problems=4, max_turns=2, arms=(Feedback(),))
    experiment = toy_experiment(
        tokenizer, suites=[suite], base=_pretrained(checkpoints / "huge"), rules=dataclasses.replace(RULES, max_turns=2)
    )
    with pytest.raises(UserError, match=r"the model cannot speak"):
        experiment.evaluate(str(checkpoints / "sound"), tmp_path, "")
    assert not (tmp_path / "eval.json").exists()


class Counting:
    """Rows of text to fit, which no model has to speak for."""

    def examples(self, chat, seed):
        while True:
            yield WeightedText((1, 2, 3, 4), (0.0, 0.0, 0.5, 0.5))


def test_a_short_stage_of_which_every_step_was_skipped_does_not_pass_for_trained(tokenizer, checkpoints, tmp_path):
    """It has fewer steps than a run goes on for without learning."""
    stage = Corpus(Counting(), OPTIMIZER, steps=2, tokens=32, buckets=(8,))
    experiment = toy_experiment(tokenizer, [stage], base=_pretrained(checkpoints / "huge"))
    with pytest.raises(UserError, match=r"corpus: the loss, gradients or parameters of 2 steps in a row were not fin"):
        experiment.train(tmp_path, "")
    assert not (tmp_path / "checkpoints" / "final").exists()


def _pretrained(path):
    from sml_jax.run.base_models import Pretrained

    return Pretrained(str(path))
