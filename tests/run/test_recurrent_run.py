"""Whole runs of a random model with delta nets: all stages and evaluation, on one device and on eight, and resumed.

All of it takes minutes: `pytest -m slow tests/run/test_recurrent_run.py`.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from run_toys import OPTIMIZER, ToyTask, read_lines, toy_experiment, write_tokenizer
from stopped_runs import differences

from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.dialogue.teachers import Feedback, Retry
from sml_jax.evaluate.suites import Suite
from sml_jax.models.config import DecoderConfig, DeltaNetConfig
from sml_jax.run.base_models import RandomWeights
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.experiment import Experiment
from sml_jax.run.stages import Offline, Online

pytestmark = pytest.mark.slow

CONFIG = DecoderConfig(
    vocab_size=16,
    embed_dim=16,
    layers=4,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp_dim=16,
    max_length=128,
    layer_pattern=("delta", "global"),
    delta_net=DeltaNetConfig(key_heads=2, value_heads=4, key_dim=6, value_dim=4, taps=3),
    rotary_dim=4,
    output_gate=True,
    qk_norm=True,
    norm_plus_one=True,
    tied_embeddings=False,
    remat=True,
)
SETTINGS = {"problems": 6, "samples": 4, "epochs": 1, "batch": 8, "micro_batch_size": 8, "problems_per_chunk": 6}
STAGES = (
    Offline(OPTIMIZER, **SETTINGS),
    Offline(OPTIMIZER, **SETTINGS, injection=QuestionInjection(0.9), name="qpriming"),
    Online(OPTIMIZER, steps=2, problems_per_step=4, group_size=4, micro_batch_size=8),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


def experiment(tokenizer: Path, **settings) -> Experiment:
    """The model is student and teacher, so both sides have recurrent rows, and the leak guard draws replies again."""
    suite = Suite(ToyTask(), problems=4, max_turns=2, arms=(Feedback(), Retry()))
    plain = {"base": RandomWeights(CONFIG), "teacher": Feedback(), "suites": [suite], "checkpoint_every": 1}
    return toy_experiment(tokenizer, STAGES, **{**plain, **settings})


@pytest.fixture(scope="module")
def whole(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    experiment(tokenizer).train(folder, "# toy\n")
    return folder


def test_every_stage_runs_and_is_evaluated(whole: Path) -> None:
    lines = read_lines(whole / "metrics.jsonl")
    assert {line["stage"] for line in lines} == {"offline", "qpriming", "online"}
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    assert set(json.loads((whole / "eval.json").read_text())["toy"]["trained"]) == {"feedback", "retry"}


@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=str)
def test_eight_devices_say_the_same_and_learn_the_same(
    whole: Path, tokenizer: Path, tmp_path: Path, mesh: dict
) -> None:
    experiment(tokenizer, **mesh).train(tmp_path / "run", "# toy\n")
    ours, plain = (read_lines(folder / "metrics.jsonl") for folder in (tmp_path / "run", whole))
    for line, expected in zip(ours, plain, strict=True):
        for name in ("loss", "gradient_norm", "success"):
            assert line.get(name) == pytest.approx(expected.get(name), rel=1e-3, abs=1e-4), name
    assert (tmp_path / "run" / "dialogues.jsonl").read_bytes() == (whole / "dialogues.jsonl").read_bytes()


def test_stopped_and_resumed_it_ends_the_same(whole: Path, tokenizer: Path, tmp_path: Path, monkeypatch) -> None:
    done = Bookkeeper.step_done
    calls = []

    def stop_at_the_online_stage(self, *args, **kwargs):
        state = done(self, *args, **kwargs)
        calls.append(state)
        if len(calls) == len(read_lines(whole / "metrics.jsonl")) - 1:
            raise KeyboardInterrupt
        return state

    with monkeypatch.context() as patch:
        patch.setattr(Bookkeeper, "step_done", stop_at_the_online_stage)
        with pytest.raises(KeyboardInterrupt):
            experiment(tokenizer).train(tmp_path / "run", "# toy\n")
    experiment(tokenizer).train(tmp_path / "run", "# toy\n")
    assert differences(whole, tmp_path / "run") == []


def test_the_run_is_general(tokenizer: Path, tmp_path: Path) -> None:
    """All layers recurrent, a single key head, rollouts on another mesh, adapters in the place of all weights."""
    from sml_jax.models.config import LoraConfig
    from sml_jax.sharding import MeshShape

    config = dataclasses.replace(CONFIG, layer_pattern=("delta",), delta_net=DeltaNetConfig(1, 4, 6, 4, 2))
    base = RandomWeights(config, lora=LoraConfig(2, 4.0, ("delta_query", "delta_out", "down")))
    made = experiment(tokenizer, base=base, data=2, fsdp=4, rollout_mesh=MeshShape(4, 1, 2))
    made.train(tmp_path / "run", "# toy\n")
    assert read_lines(tmp_path / "run" / "metrics.jsonl")
