"""Whole runs of random models whose layers differ, Gemma 4's and Qwen 3.5's: on one device, on eight, and resumed.

All of it takes minutes: `pytest -m slow tests/run/test_mixed_layers_run.py`.
"""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from run_toys import OPTIMIZER, ToyTask, read_lines, sgd, toy_experiment, write_tokenizer
from stopped_runs import differences

from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.dialogue.teachers import Feedback, Retry
from sml_jax.evaluate.suites import Suite
from sml_jax.models import load_model
from sml_jax.models.config import DecoderConfig, DeltaNetConfig, LoraConfig
from sml_jax.models.ops.rope import RopeScaling
from sml_jax.run import experiment
from sml_jax.run.base_models import RandomWeights
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.stages import Offline, Online
from sml_jax.sharding import MeshShape, make_mesh

pytestmark = pytest.mark.slow

SIZES = {
    "vocab_size": 16, "embed_dim": 16, "heads": 4, "kv_heads": 2, "head_dim": 8, "mlp_dim": 16, "max_length": 128,
    "qk_norm": True,
}  # fmt: skip
CONFIGS = {
    # Both kinds of heads, layers without keys and values of their own, embeddings by layer.
    "gemma4": DecoderConfig(
        **SIZES, layers=5, activation="gelu", layer_pattern=("local", "global"), window=6, rope_local_base=100.0,
        rope_scaling=RopeScaling("proportional", rotary_fraction=0.5), attention_scale=1.0, final_softcap=5.0,
        value_norm=True, post_norms=True, layer_scalar=True, embedding_scale=True, global_head_dim=12,
        global_kv_heads=1, global_key_as_value=True, kv_sharing_layers=2, sharing_mlp_dim=32, per_layer_dim=4,
        remat="layer",
    ),
    # Delta nets between layers of attention whose output passes a gate.
    "qwen3_5": DecoderConfig(
        **SIZES, layers=4, layer_pattern=("delta", "global"),
        delta_net=DeltaNetConfig(key_heads=2, value_heads=4, key_dim=6, value_dim=4, taps=3), rotary_dim=4,
        output_gate=True, norm_plus_one=True, tied_embeddings=False, remat=True,
    ),
}  # fmt: skip
ADAPTED = {
    "gemma4": ("query", "value", "per_layer_gate", "per_layer_out"),
    "qwen3_5": ("delta_query", "delta_out", "down"),
}
SETTINGS = {"problems": 6, "samples": 4, "epochs": 1, "batch": 8, "micro_batch_size": 8, "problems_per_chunk": 6}
# AdamW divides a gradient by its own size, and so makes a rounding of one near 0 a step of full length.
SMALL_STEPS = sgd(1e-3)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


@pytest.fixture(scope="module", params=CONFIGS)
def family(request) -> str:
    return request.param


def train(tokenizer: Path, workdir: Path, family: str, optimizer=OPTIMIZER, **settings) -> None:
    """The model is student and teacher, and the leak guard draws replies again, so both sides' rows are taken back."""
    stages = (
        Offline(optimizer, **SETTINGS),
        Offline(optimizer, **SETTINGS, injection=QuestionInjection(0.9), name="qpriming"),
        Online(optimizer, steps=2, problems_per_step=4, group_size=4, micro_batch_size=8),
    )
    suite = Suite(ToyTask(), problems=4, max_turns=2, arms=(Feedback(), Retry()))
    base = RandomWeights(CONFIGS[family])
    plain = {"base": base, "teacher": Feedback(), "suites": [suite], "checkpoint_every": 1}
    toy_experiment(tokenizer, stages, **{**plain, **settings}).train(workdir, "# toy\n")


@pytest.fixture(scope="module")
def whole(family: str, tokenizer: Path, tmp_path_factory) -> Path:
    """The folder of a run on one device."""
    folder = tmp_path_factory.mktemp(family)
    with pytest.MonkeyPatch.context() as patch:
        one = make_mesh(1, 1, 1, over=jax.devices()[:1])
        patch.setattr(experiment, "make_mesh", lambda *sizes, **settings: one)
        train(tokenizer, folder, family, SMALL_STEPS)
    return folder


def test_every_stage_runs_and_is_evaluated(family: str, whole: Path) -> None:
    lines = read_lines(whole / "metrics.jsonl")
    assert {line["stage"] for line in lines} >= {"offline", "qpriming", "online"}
    assert all(np.isfinite(line["loss"]) and not line["skipped"] for line in lines if "loss" in line)
    online = [line for line in lines if line["stage"] == "online"]
    # Scored again by the trainer, the tokens have the log-probabilities that they were sampled with.
    assert len(online) == 2 and all(line["logprob_mismatch_max"] < 1e-4 for line in online)
    scores = json.loads((whole / "eval.json").read_text())["toy"]["trained"]
    assert {arm: scores[arm]["n"] for arm in scores} == {"feedback": 4, "retry": 4}
    params = load_model(whole)[1]["params"]
    if family == "gemma4":
        # The scalars of layers are stored and never trained.
        for kind in ("local", "global", "local_sharing", "global_sharing"):
            scalar = params["layers"][kind]["layer_scalar"]
            np.testing.assert_array_equal(scalar, np.ones_like(scalar))
        assert "key" not in params["layers"]["local_sharing"]["attention"]


@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=str)
def test_eight_devices_say_the_same_and_learn_the_same(
    family: str, whole: Path, tokenizer: Path, tmp_path: Path, mesh: dict
) -> None:
    train(tokenizer, tmp_path / "run", family, SMALL_STEPS, **mesh)
    ours, plain = (
        [line for line in read_lines(folder / "metrics.jsonl") if "loss" in line]
        for folder in (tmp_path / "run", whole)
    )
    for line, expected in zip(ours, plain, strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-4, abs=1e-5)
    # Random weights bend the loss sharply: what a sum rounds in the first update is half a percent of the fourth's
    # gradient, and a few of the later dialogues are others.
    assert ours[0]["gradient_norm"] == pytest.approx(plain[0]["gradient_norm"], rel=1e-4)
    said, expected = (
        [line["tokens"] for line in read_lines(folder / "dialogues.jsonl") if line["step"] == 1]
        for folder in (tmp_path / "run", whole)
    )
    assert said == expected and len(said) > 20


def test_stopped_and_resumed_it_ends_the_same(family: str, tokenizer: Path, tmp_path: Path, monkeypatch) -> None:
    """On the whole mesh; stopped in the last step but one."""
    mesh = {"data": 2, "fsdp": 2, "tensor": 2}
    train(tokenizer, tmp_path / "whole", family, **mesh)
    steps = read_lines(tmp_path / "whole" / "metrics.jsonl")[-1]["step"]
    done, calls = Bookkeeper.step_done, []

    def stop_before_the_last_step(self, *args, **kwargs):
        state = done(self, *args, **kwargs)
        calls.append(state)
        if len(calls) == steps - 1:
            raise KeyboardInterrupt
        return state

    with monkeypatch.context() as patch:
        patch.setattr(Bookkeeper, "step_done", stop_before_the_last_step)
        with pytest.raises(KeyboardInterrupt):
            train(tokenizer, tmp_path / "run", family, **mesh)
    assert not (tmp_path / "run" / "eval.json").exists()
    train(tokenizer, tmp_path / "run", family, **mesh)
    assert differences(tmp_path / "whole", tmp_path / "run") == []


def test_adapters_and_a_rollout_mesh(family: str, tokenizer: Path, tmp_path: Path) -> None:
    """Rollouts on another mesh, adapters in the place of all weights, and delta nets alone, with fewer taps."""
    config = CONFIGS[family]
    if family == "qwen3_5":
        config = dataclasses.replace(config, layer_pattern=("delta",), delta_net=DeltaNetConfig(2, 4, 6, 4, 2))
    base = RandomWeights(config, lora=LoraConfig(rank=2, alpha=4.0, targets=ADAPTED[family]))
    train(tokenizer, tmp_path, family, base=base, data=2, fsdp=4, rollout_mesh=MeshShape(4, 1, 2))
    lines = [line for line in read_lines(tmp_path / "metrics.jsonl") if line["stage"] == "online"]
    assert len(lines) == 2 and all(line["logprob_mismatch_max"] < 1e-4 for line in lines)
