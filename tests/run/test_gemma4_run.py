"""A whole dialogue run of a small random Gemma 4: Q-priming, online SML, evaluation; on one device and on a mesh."""

import json

import jax
import numpy as np
import pytest
from run_toys import OPTIMIZER, ToyTask, read_lines, toy_experiment, write_tokenizer

from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.dialogue.teachers import Feedback, Retry
from sml_jax.evaluate.suites import Suite
from sml_jax.models import load_model
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.ops.rope import RopeScaling
from sml_jax.run import experiment
from sml_jax.run.base_models import RandomWeights
from sml_jax.run.stages import Offline, Online
from sml_jax.sharding import make_mesh

# Every trait of the family: both kinds of heads, layers without keys and values, per-layer embeddings, one kv head.
GEMMA4 = DecoderConfig(
    vocab_size=16, embed_dim=16, layers=5, heads=4, kv_heads=2, head_dim=8, mlp_dim=16, max_length=128,
    activation="gelu", layer_pattern=("local", "global"), window=6, rope_local_base=100.0,
    rope_scaling=RopeScaling("proportional", rotary_fraction=0.5), attention_scale=1.0, final_softcap=5.0,
    qk_norm=True, value_norm=True, post_norms=True, layer_scalar=True, embedding_scale=True, global_head_dim=12,
    global_kv_heads=1, global_key_as_value=True, kv_sharing_layers=2, sharing_mlp_dim=32, per_layer_dim=4,
    remat="layer",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


def run(tokenizer, workdir, lora=None, **mesh):
    """Trains in `workdir` and returns the base of the run and what it trained."""
    stages = [
        Offline(
            OPTIMIZER, problems=4, samples=4, epochs=1, batch=8, micro_batch_size=8,
            injection=QuestionInjection(0.5), name="qpriming",
        ),
        Online(OPTIMIZER, steps=2, problems_per_step=4, group_size=4, micro_batch_size=8),
    ]  # fmt: skip
    suite = Suite(ToyTask(), (Feedback(), Retry("a")), problems=4, max_turns=2)
    base = RandomWeights(GEMMA4, lora=lora) if lora else RandomWeights(GEMMA4)
    settings = {"base": base, "teacher": Feedback(), "suites": [suite], **mesh}
    toy_experiment(tokenizer, stages, **settings).train(workdir, "# toy\n")
    return load_model(workdir)[1]["params"]


def check(workdir, params) -> None:
    """Whether both stages and the evaluation ran, and what was trained."""
    metrics = read_lines(workdir / "metrics.jsonl")
    assert [line["stage"] for line in metrics].count("online") == 2
    online = [line for line in metrics if line["stage"] == "online"]
    assert all(np.isfinite(line["loss"]) and not line["skipped"] for line in online)
    # Re-scored by the trainer, the tokens have the log-probabilities that they were sampled with.
    assert all(line["logprob_mismatch_max"] < 1e-4 for line in online)
    scores = json.loads((workdir / "eval.json").read_text())["toy"]["trained"]
    assert {arm: scores[arm]["n"] for arm in scores} == {"feedback": 4, "retry": 4}
    # The scalars of layers are stored and never trained.
    for kind in ("local", "global", "local_sharing", "global_sharing"):
        scalar = params["layers"][kind]["layer_scalar"]
        np.testing.assert_array_equal(scalar, np.ones_like(scalar))
    assert "key" not in params["layers"]["local_sharing"]["attention"]


# pytest -m slow tests/run/test_gemma4_run.py
@pytest.mark.slow
def test_a_run_on_one_device(tokenizer, tmp_path, monkeypatch) -> None:
    one = make_mesh(1, 1, 1, over=jax.devices()[:1])
    monkeypatch.setattr(experiment, "make_mesh", lambda *_, **__: one)
    check(tmp_path, run(tokenizer, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=["data", "all"])
def test_a_run_on_eight_devices(tokenizer, tmp_path, mesh) -> None:
    check(tmp_path, run(tokenizer, tmp_path, **mesh))


@pytest.mark.slow
def test_a_run_of_adapters(tokenizer, tmp_path) -> None:
    targets = ("query", "value", "per_layer_gate", "per_layer_out")
    check(tmp_path, run(tokenizer, tmp_path, lora=LoraConfig(rank=2, targets=targets)))
