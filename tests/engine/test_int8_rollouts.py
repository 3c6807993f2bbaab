"""An engine with weights in int8 is an engine of the rounded weights, on every device and in either product."""

import dataclasses
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_toys import CONFIG, END, mesh_of
from jax.sharding import PartitionSpec

from sml_jax.common.errors import UserError
from sml_jax.engine import ContextBatch, Engine
from sml_jax.engine.layer_params import int8_inner_axes, unstack_layers, weight_shardings
from sml_jax.engine.sampling import Sampling
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.models.config import DecoderConfig, DeltaNetConfig, LoraConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.ops.int8 import Int8Kernel, PackedInt8Kernel, quantise
from sml_jax.sharding import make_mesh

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
INT8 = dataclasses.replace(CONFIG, rollout_weights="int8", head_dim=16)
# What the tied toy does not have: an output layer, biases, adapters, and layers with a delta net.
MIXED = DecoderConfig(
    vocab_size=14,
    embed_dim=16,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=8,
    mlp_dim=24,
    max_length=64,
    layer_pattern=("delta", "global"),
    delta_net=DeltaNetConfig(key_heads=1, value_heads=2, key_dim=8, value_dim=8),
    tied_embeddings=False,
    qkv_bias=True,
    lora=LoraConfig(rank=2),
    rollout_weights="int8",
)


@partial(jax.jit, static_argnums=0)
def sharp_params(config: DecoderConfig) -> dict:
    """Random parameters, sharp enough that a wrong weight shows; biases and adapters are not 0 either."""
    params = init_params(Decoder(config), jax.random.key(0))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf * 1.5 + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


@partial(jax.jit, static_argnums=0)
def rounded_params(config: DecoderConfig, params: dict) -> dict:
    """The float parameters that the engine's int8 weights stand for."""

    def round_one(path: tuple, leaf: jax.Array) -> jax.Array:
        names = tuple(step.key for step in path[1:])
        axes = int8_inner_axes(config, names)
        if axes is None:
            return leaf

        def rounded(kernel: jax.Array) -> jax.Array:
            in_int8 = quantise(kernel, axes)
            return in_int8.values * jnp.expand_dims(in_int8.scale, axes)

        return jax.vmap(rounded)(leaf) if names[0] == "layers" else rounded(leaf)

    return jax.tree_util.tree_map_with_path(round_one, params)


def talk(config: DecoderConfig, mesh: tuple[int, int, int] = (1, 1, 1), sampling: Sampling | None = None) -> list:
    """Two turns of four rows: (context, log-probs of what was sampled, 0 for what was given) of each row."""
    engine = Engine(
        Decoder(config), 4, 64, 8, (END,), sampling=sampling, chunk_sizes=(8,), capacities=(64,), mesh=mesh_of(*mesh)
    )
    side, rows = ContextBatch(engine, sharp_params(config), jax.random.key(1)), range(4)
    contexts, logprobs = [[1 + row, 3, 4] for row in rows], [[0.0] * 3 for _ in rows]
    for row in rows:
        side.start(row, row, contexts[row])
    for _ in range(2):
        for row, turn in zip(rows, side.sample(rows, 6), strict=True):
            side.append(row, [5, 4])
            contexts[row] += [*turn.tokens, 5, 4]
            logprobs[row] += [*turn.logprobs, 0.0, 0.0]
    return list(zip(contexts, logprobs, strict=True))


@partial(jax.jit, static_argnums=0)
def scores(config: DecoderConfig, params: dict, tokens: jax.Array) -> jax.Array:
    """The trainer's log-probs of the tokens of whole contexts."""
    return token_logprobs(Decoder(config).apply(params, tokens), tokens)


@pytest.mark.extra
def test_it_samples_with_the_log_probs_of_the_rounded_model():
    """The trainer's forward pass over whole contexts, with the rounded parameters, gives the sampler's log-probs."""
    said = talk(INT8)
    tokens, sampler = np.zeros((4, 32), np.int32), np.zeros((4, 32))
    for row, (context, logprobs) in enumerate(said):
        tokens[row, : len(context)], sampler[row, : len(context)] = context, logprobs
    sampled = sampler != 0
    params = sharp_params(INT8)
    expected = scores(INT8, rounded_params(INT8, params), tokens)[sampled]
    np.testing.assert_allclose(sampler[sampled], expected, atol=1e-4)
    mismatch = np.abs(expected - scores(INT8, params, tokens)[sampled])
    assert sampled.sum() > 20 and mismatch.max() > 1e-3, "rounding that changes nothing shows nothing"


@pytest.mark.extra
def test_other_layers_are_the_rounded_models_too():
    """Biases, adapters, an output layer and a delta net: given tokens are scored as the trainer scores them."""
    params, tokens = sharp_params(MIXED), np.random.default_rng(0).integers(0, 14, (4, 8)).astype(np.int32)
    engine = Engine(Decoder(MIXED), 4, 64, 8, (END,), mesh=mesh_of(1, 1, 1))
    got = engine.score(params, engine.empty_cache(), tokens, np.zeros(4, np.int32), np.full(4, 8, np.int32))
    np.testing.assert_allclose(got, scores(MIXED, rounded_params(MIXED, params), tokens), atol=1e-4)
    assert np.abs(got - scores(MIXED, params, tokens)).max() > 1e-3


@needs_compiler
def test_the_c_product_says_what_plain_jax_says():
    """Greedy tokens, and their log-probs but for what rounding activations to 16 bits changes."""
    greedy, native = Sampling(temperature=0.0), dataclasses.replace(INT8, attention="native")
    for (said, logprobs), (expected, others) in zip(
        talk(native, sampling=greedy), talk(INT8, sampling=greedy), strict=True
    ):
        assert said == expected
        np.testing.assert_allclose(logprobs, others, atol=1e-3)


@pytest.mark.parametrize(
    ("attention", "mesh"),
    [
        pytest.param("auto", (2, 1, 2), marks=pytest.mark.extra),
        pytest.param("auto", (2, 2, 2), marks=pytest.mark.slow),
        pytest.param("native", (4, 1, 1), marks=[needs_compiler, pytest.mark.slow]),
    ],
    ids=str,
)
def test_any_mesh_says_the_same(attention, mesh):
    """Where kernels are split over devices, so are their scales."""
    config = dataclasses.replace(INT8, attention=attention)
    for (said, logprobs), (expected, others) in zip(talk(config, mesh), talk(config), strict=True):
        assert said == expected
        np.testing.assert_allclose(logprobs, others, atol=1e-4)


@pytest.mark.parametrize(
    "config", [INT8, MIXED, dataclasses.replace(INT8, attention="native")], ids=["tied", "mixed", "native"]
)
def test_shardings_have_a_place_for_every_array(config):
    model = Decoder(config)
    shapes = jax.eval_shape(partial(unstack_layers, model), jax.eval_shape(partial(sharp_params, config)))
    shardings = weight_shardings(model, make_mesh(8, 1, 1))
    jax.tree.map(lambda shape, sharding: sharding.shard_shape(shape.shape), shapes, shardings)


def test_a_scale_lies_where_its_channel_does():
    layer = weight_shardings(Decoder(INT8), make_mesh(2, 2, 2)).layers[0]["params"]
    query, out, down = layer["attention"]["query"], layer["attention"]["out"], layer["mlp"]["down"]
    assert query["kernel"].values.spec == PartitionSpec("fsdp", "tensor", None)
    assert query["kernel"].scale.spec == PartitionSpec("tensor", None)
    assert out["kernel"].scale.spec == down["kernel"].scale.spec == PartitionSpec("fsdp")


def test_what_is_in_int8_and_how_many_bytes_that_is():
    """Kernels are a byte a number and four a channel; norms, biases, adapters and a delta net's gates stay."""
    for config in (INT8, MIXED, dataclasses.replace(INT8, attention="native")):
        params = jax.eval_shape(partial(init_params, Decoder(config)), jax.random.key(0))
        weights, plain = (
            jax.tree_util.tree_leaves_with_path(
                jax.eval_shape(partial(unstack_layers, Decoder(either)), params),
                is_leaf=lambda leaf: isinstance(leaf, Int8Kernel | PackedInt8Kernel),
            )
            for either in (config, dataclasses.replace(config, rollout_weights=None))
        )
        for (path, leaf), (plain_path, whole) in zip(weights, plain, strict=True):
            assert path == plain_path
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            in_int8 = isinstance(leaf, Int8Kernel | PackedInt8Kernel)
            is_kernel = name.endswith("kernel") or (name.endswith("embedding") and config.tied_embeddings)
            assert in_int8 == (is_kernel and "delta_beta" not in name and "delta_decay" not in name), name
            if isinstance(leaf, Int8Kernel):
                assert leaf.values.shape == whole.shape and leaf.values.dtype == jnp.int8
                channels = whole.size // np.prod([whole.shape[axis] for axis in leaf.inner_axes])
                assert leaf.scale.size == channels and leaf.scale.dtype == jnp.float32
            elif not in_int8:
                assert (leaf.shape, leaf.dtype) == (whole.shape, whole.dtype), name


def test_an_unknown_kind_of_weights_is_refused():
    with pytest.raises(UserError, match="rollout_weights is 'int4'; it takes 'int8'"):
        dataclasses.replace(CONFIG, rollout_weights="int4")
