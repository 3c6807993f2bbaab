"""Models on disk: what was saved comes back bit for bit, and what is missing or does not fit is an error."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sml_jax.common.errors import UserError
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.models.layout import shard_params
from sml_jax.sharding import AXES

CONFIG = DecoderConfig(
    vocab_size=11,
    embed_dim=8,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=4,
    mlp_dim=12,
    max_length=32,
    qkv_bias=True,
    param_dtype="bfloat16",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("model")
    params = init_params(Decoder(CONFIG), jax.random.key(0))
    save_model(path, CONFIG, params)
    return path, params


def assert_same(a: dict, b: dict) -> None:
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), a) == jax.tree.map(lambda x: (x.shape, x.dtype), b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip(saved) -> None:
    path, params = saved
    model, again = load_model(path)
    assert model.config == CONFIG
    assert_same(again, params)
    assert model.apply(again, jnp.asarray([[1, 2, 3]])).shape == (1, 3, 11)


def test_a_finished_run_gives_its_final_model_and_saving_again_replaces(tmp_path: Path) -> None:
    final = tmp_path / "checkpoints" / "final"
    for seed in range(2):
        params = init_params(Decoder(CONFIG), jax.random.key(seed))
        save_model(final, CONFIG, params)
    _, again = load_model(str(tmp_path))
    assert_same(again, params)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model at .*nowhere: give a folder that holds model\.json and params/"):
        load_model(tmp_path / "nowhere")


def test_no_parameters_there(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(CONFIG.to_json())
    with pytest.raises(UserError, match=r"are damaged or not all there: copy the model.s folder again"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"embed_dim": 16}, {"vocab_size": 12}, {"layers": 3}, {"qkv_bias": False}, {"qk_norm": True}]
)
def test_parameters_of_another_shape(saved, changes: dict) -> None:
    path, _ = saved
    (path / "model.json").write_text(dataclasses.replace(CONFIG, **changes).to_json())
    try:
        with pytest.raises(UserError, match=r"are not of the shape that its model\.json says") as caught:
            load_model(path)
    finally:
        (path / "model.json").write_text(CONFIG.to_json())
    assert "\n" not in str(caught.value)


def test_overrides_cast_and_a_mesh_lays_out(saved) -> None:
    path, params = saved
    mesh = jax.make_mesh((4, 2, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    model, wide = load_model(path, mesh, {"param_dtype": "float32", "max_length": 16})
    assert (model.config.param_dtype, model.config.max_length, model.config.embed_dim) == ("float32", 16, 8)
    assert {leaf.dtype for leaf in jax.tree.leaves(wide)} == {jnp.dtype("float32")}
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(jnp.float32)), wide, params)
    expected = shard_params(mesh, model, wide)
    assert jax.tree.map(lambda leaf: leaf.sharding, wide) == jax.tree.map(lambda leaf: leaf.sharding, expected)
    with pytest.raises(UserError, match="'heads' of a model on disk cannot be changed"):
        load_model(path, overrides={"heads": 1})
