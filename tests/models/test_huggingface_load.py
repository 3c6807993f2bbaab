"""Hugging Face folders: read onto a mesh, in either type, with what does not belong there named or left out."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from make_golden import FOLDER
from safetensors.numpy import save_file

from sml_jax.common.errors import UserError
from sml_jax.models import Decoder, DecoderConfig, config_from_hf, load_model, save_hf
from sml_jax.models.hf import load as huggingface_load
from sml_jax.models.hf.checkpoint import with_overrides
from sml_jax.models.layout import shard_params, sharded_param_shapes
from sml_jax.sharding import AXES


def weights_of(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(FOLDER / f"{name}.npz") as file:
        config = json.loads(file["config.json"].tobytes())
        return config, {
            key.removeprefix("weight/"): file[key].astype(np.float32) for key in file if key.startswith("weight/")
        }


def write(folder: Path, config: dict[str, Any], weights: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def same(a: Any, b: Any) -> None:
    assert jax.tree.map(lambda x: (x.shape, x.dtype), a) == jax.tree.map(lambda x: (x.shape, x.dtype), b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory) -> tuple[Path, dict, dict]:
    config, weights = weights_of("gemma3_text")
    return write(tmp_path_factory.mktemp("gemma"), config, weights), config, weights


@pytest.mark.parametrize("sizes", [(2, 2, 2), (1, 4, 2), (8, 1, 1)])
def test_on_a_mesh_it_lies_as_shard_params_lays_it(gemma, sizes: tuple[int, int, int]) -> None:
    config, weights = weights_of("llama")
    weights["model.embed_tokens.weight"], weights["lm_head.weight"] = (
        np.concatenate([weights[name], weights[name][:3]])
        for name in ("model.embed_tokens.weight", "lm_head.weight")  # 56 tokens, which 2 divides
    )
    folder = write(gemma[0].parent / "llama", {**config, "vocab_size": 56}, weights)
    mesh = jax.make_mesh(sizes, AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    model, plain = load_model(folder)
    _, laid_out = load_model(folder, mesh)
    expected = shard_params(mesh, model, plain)
    same(laid_out, plain)
    assert jax.tree.map(lambda leaf: leaf.sharding, laid_out) == jax.tree.map(lambda leaf: leaf.sharding, expected)


def test_a_dimension_that_the_mesh_does_not_divide_is_named(gemma) -> None:
    mesh = jax.make_mesh((4, 1, 2), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    with pytest.raises(UserError, match=r"embedding.* has a dimension of 53, which tensor=2 does not divide"):
        load_model(gemma[0], mesh)


def test_types(gemma, tmp_path: Path) -> None:
    folder, config, weights = gemma
    model, params = load_model(folder, overrides={"param_dtype": "bfloat16"})
    assert model.config.dtype == "float32" and model.config.param_dtype == "bfloat16"
    kernel = params["params"]["layers"]["mlp"]["up"]["kernel"]
    assert kernel.dtype == jnp.bfloat16 and params["params"]["final_norm"]["scale"].dtype == jnp.float32
    stored = weights["model.layers.1.mlp.up_proj.weight"].astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(kernel[1], stored.T)
    # Where config.json does not say, the tensors do.
    half = {name: values.astype(ml_dtypes.bfloat16) for name, values in weights.items()}
    silent = {name: value for name, value in config.items() if name not in ("dtype", "torch_dtype")}
    assert load_model(write(tmp_path / "half", silent, half))[0].config.param_dtype == "bfloat16"
    assert load_model(write(tmp_path / "full", silent, weights))[0].config.param_dtype == "float32"


def test_what_is_missing_surplus_or_misshapen_is_named(gemma, tmp_path: Path) -> None:
    _, config, weights = gemma
    broken = dict(weights)
    del broken["model.layers.2.self_attn.q_norm.weight"]
    broken["model.layers.0.self_attn.q_proj.bias"] = np.zeros(64, np.float32)
    broken["model.norm.weight"] = np.zeros(15, np.float32)
    with pytest.raises(UserError) as caught:
        load_model(write(tmp_path, config, broken))
    text = str(caught.value)
    assert "missing tensors: model.layers.2.self_attn.q_norm.weight;" in text and "\n" not in text
    assert "no place for: model.layers.0.self_attn.q_proj.bias;" in text
    assert "model.norm.weight is [15] instead of [16]" in text


def test_a_tied_head_may_be_there_if_it_is_the_embedding(gemma, tmp_path: Path) -> None:
    folder, config, weights = gemma
    embedding = weights["model.embed_tokens.weight"]
    inv = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    same(load_model(write(tmp_path, config, {**weights, **inv, "lm_head.weight": embedding}))[1], load_model(folder)[1])
    other = embedding.copy()
    other[-1, -1] += 1
    with pytest.raises(UserError, match=r"lm_head\.weight is not the embedding"):
        load_model(write(tmp_path, config, {**weights, "lm_head.weight": other}))


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model.", ""])
def test_other_prefixes_and_a_vision_tower(gemma, tmp_path: Path, prefix: str, monkeypatch) -> None:
    folder, config, weights = gemma
    renamed = {prefix + name.removeprefix("model."): values for name, values in weights.items()}
    if prefix:
        config = {"model_type": "gemma3", "text_config": config, "vision_config": {}, "mm_tokens_per_image": 4}
        tower = "vision_tower.x" if prefix.startswith("language") else "model.vision_tower.x"
        renamed[tower] = np.zeros(3, np.float32)
    warnings: list[str] = []
    # Not by way of the root logger, whose state is that of every library in the process.
    monkeypatch.setattr(huggingface_load._log, "warning", lambda text, *values: warnings.append(text % values))
    _, params = load_model(write(tmp_path, config, renamed))
    same(params, load_model(folder)[1])
    assert len(warnings) == bool(prefix) and all("left out 1 tensors of vision_tower" in text for text in warnings)
    if not prefix:
        renamed["vision_tower.x"] = np.zeros(3, np.float32)
        with pytest.raises(UserError, match=r"no place for: vision_tower\.x"):
            load_model(write(tmp_path, config, renamed))


def test_progress_tells_of_every_tensor(gemma) -> None:
    told: list[tuple[int, int]] = []
    load_model(gemma[0], progress=lambda done, total: told.append((done, total)))
    assert told == [(i + 1, len(gemma[2])) for i in range(len(gemma[2]))]


def test_folders_that_hold_no_weights_or_no_config(gemma, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="fetch the weights in the safetensors format"):
        load_model(tmp_path)
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(UserError, match="'mamba' is not supported"):
        load_model(tmp_path)


def test_overrides_reach_the_model_and_others_are_refused(gemma) -> None:
    model, _ = load_model(gemma[0], overrides={"max_length": 64, "remat": True, "dtype": "bfloat16"})
    assert (model.config.max_length, model.config.remat, model.config.dtype) == (64, True, "bfloat16")
    for name, value, part in (
        ("embed_dim", 8, "'embed_dim' of a model on disk cannot be changed"),
        ("windw", 8, "'windw'"),
        ("max_length", "64", "max_length is '64'; it takes a value like"),
        ("remat", 1, "remat is 1; it takes a value like"),
        ("dtype", "float64", "dtype is 'float64'"),
        ("max_length", 0, "at least 1"),
    ):
        with pytest.raises(UserError, match=part):
            with_overrides(model.config, {name: value})


MEMORY = """
import resource, sys, threading, time
import jax
from sml_jax.models import load_model
import ml_dtypes, numpy as np

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

load_model(sys.argv[2])  # what loading itself needs: programs, libraries
before, peak, stop = resident(), [0], threading.Event()
def watch():
    while not stop.is_set():
        peak[0] = max(peak[0], resident())
        time.sleep(0.002)
thread = threading.Thread(target=watch); thread.start()
model, params = load_model(sys.argv[1])
jax.block_until_ready(params)
stop.set(); thread.join()
print(max(peak[0], resident()) - before, sum(leaf.nbytes for leaf in jax.tree.leaves(params)))
"""


def write_random(folder: Path, **sizes: int) -> DecoderConfig:
    """A Qwen 3 folder of some sizes in bfloat16, all ones."""
    config = config_from_hf({**weights_of("qwen3")[0], "layer_types": None, "dtype": "bfloat16", **sizes})
    shapes = sharded_param_shapes(Decoder(config), None)
    save_hf(folder, config, jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes))
    return config


@pytest.mark.extra
def test_the_host_holds_a_tensor_at_a_time(tmp_path: Path) -> None:
    config = write_random(tmp_path / "deep", hidden_size=256, intermediate_size=4096, num_hidden_layers=8)
    load_model(tmp_path / "deep")  # compiles
    tracemalloc.start()
    try:
        load_model(tmp_path / "deep")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tensor = 2 * 256 * 4096  # 2 MB in bfloat16
    # NumPy's memory is traced, JAX's is not: the tensor, what is read of it, and Python's own, of which threads that
    # earlier tests left may have a part. Stacked it is 17 MB.
    assert 2 * tensor <= peak < 2 * tensor + 4e6 < config.layers * tensor


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_resident_memory_stays_within_the_arrays_and_a_tensor(gemma, tmp_path: Path) -> None:
    # 10 layers of three matrices of 8 MB each; every stacked parameter of the MLP is 84 MB.
    write_random(tmp_path / "large", hidden_size=1024, intermediate_size=4096, num_hidden_layers=10)
    out = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "large"), str(gemma[0])],
        capture_output=True,
        text=True,
        check=True,
        env={"JAX_PLATFORMS": "cpu", "PATH": ""},
    )
    grown, arrays = map(int, out.stdout.split())
    assert arrays > 250e6
    # On a CPU the arrays are host memory as well. 70 MB: compiling, the allocator's slack, the threads' stacks.
    assert grown < arrays + 2 * 1024 * 4096 + 70e6, (grown, arrays)
