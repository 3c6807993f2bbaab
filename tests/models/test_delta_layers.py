"""Delta nets within a decoder: gradients with any rematerialisation and those of `transformers`, prefixes, adapters.

All remat policies and meshes: `pytest -m "slow or not slow" tests/models/test_delta_layers.py`.
"""

import dataclasses
import json
from functools import cache, partial
from pathlib import Path

import flax.traverse_util as traverse
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf_toys import golden_arrays
from safetensors.numpy import save_file

from sml_jax.common.errors import UserError
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.models.config import DecoderConfig, DeltaNetConfig, LoraConfig, canonical
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.hf import load_model
from sml_jax.models.hf.names import placements
from sml_jax.models.layout import shard_params
from sml_jax.models.lora import add_lora, merge_lora
from sml_jax.models.prefix_sharing import SharedPrefix
from sml_jax.sharding import AXES

CONFIG = DecoderConfig(
    vocab_size=19,
    embed_dim=16,
    layers=4,
    heads=4,
    kv_heads=2,
    head_dim=6,
    mlp_dim=12,
    max_length=128,
    layer_pattern=("delta", "global"),
    delta_net=DeltaNetConfig(key_heads=2, value_heads=4, key_dim=5, value_dim=3, taps=3),
    rotary_dim=4,
    output_gate=True,
    qk_norm=True,
    norm_plus_one=True,
)
TOKENS = np.random.default_rng(0).integers(0, 19, (4, 24)).astype(np.int32)


@cache
def params() -> dict:
    return jax.tree.map(lambda leaf: leaf * 1.5, init_params(Decoder(CONFIG), jax.random.key(0)))


def loss(model: Decoder, params: dict, tokens: jax.Array) -> jax.Array:
    return -jnp.mean(token_logprobs(model.apply(params, tokens), tokens)[:, 1:])


@cache
def gradients(remat: str) -> dict:
    model = Decoder(dataclasses.replace(CONFIG, remat=remat))
    return jax.jit(jax.grad(partial(loss, model)))(params(), TOKENS)


# `pytest -m slow tests/models/test_delta_layers.py`
@pytest.mark.slow
@pytest.mark.parametrize("remat", ["layer", "dots"])
def test_gradients_are_the_same_with_any_rematerialisation(remat: str) -> None:
    """But for the rounding of sums in float32."""
    for ours, plain in zip(jax.tree.leaves(gradients(remat)), jax.tree.leaves(gradients("none")), strict=True):
        assert float(jnp.abs(plain).max()) > 0
        np.testing.assert_allclose(ours, plain, atol=2e-5, rtol=1e-5)


NAMED = ("linear_attn.in_proj_qkv.weight", "linear_attn.A_log", "self_attn.q_proj.weight")


def test_gradients_are_those_of_transformers(tmp_path: Path) -> None:
    """Of three weights: a matrix that three of our parameters share, a rate of decay, queries with their gates."""
    torch = pytest.importorskip("torch", reason="the live comparison needs torch")
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    config, tensors, _ = golden_arrays("qwen3_5_text_tied")
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model, weights = load_model(tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="float32", attn_implementation="eager")
    row = np.random.default_rng(1).integers(0, 19, (1, 70)).astype(np.int32)  # more than a chunk
    tokens = torch.tensor(row.astype(np.int64))
    logits = theirs(tokens).logits[:, :-1]
    torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1)).backward()
    found = traverse.flatten_dict(jax.jit(jax.grad(partial(loss, model)))(weights, row)["params"])
    named = dict(theirs.named_parameters())
    for name in NAMED:
        tensor = next(tensor for tensor in named if tensor.endswith(name))
        expected, ours = named[tensor].grad.numpy(), np.full(named[tensor].shape, np.nan, np.float32)
        for path, place in placements(model.config).items():
            if tensor in place.names():
                block = place.stored_view(np.asarray(found[path][place.names().index(tensor)]))
                ours[place.first_row : place.first_row + len(block)] = block
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(ours, expected, atol=3e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.extra
def test_a_prefix_that_rows_share_is_read_once_and_the_same() -> None:
    model, tokens = Decoder(CONFIG), TOKENS.copy()
    tokens[:, :10] = np.repeat(tokens[::2, :10], 2, axis=0)
    shared, positions = SharedPrefix(2, 10), np.broadcast_to(np.arange(24, dtype=np.int32), tokens.shape)
    run = jax.jit(partial(model.apply, method="hidden_states"), static_argnums=3)
    packed = run(params(), shared.pack(jnp.asarray(tokens)), shared.pack(jnp.asarray(positions)), shared)
    np.testing.assert_allclose(shared.unpack(packed), run(params(), tokens, positions, None), atol=2e-5)


@pytest.mark.extra
def test_padding_behind_a_row_changes_nothing_before_it() -> None:
    run, short = jax.jit(partial(Decoder(CONFIG).apply, params())), TOKENS.copy()
    short[:, 14:] = 0
    np.testing.assert_array_equal(run(short)[:, :14], run(TOKENS)[:, :14])


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(8, 1, 1), (2, 2, 2), (1, 4, 2)], ids=str)
def test_logits_and_gradients_on_any_mesh(mesh: tuple[int, int, int]) -> None:
    model = Decoder(dataclasses.replace(CONFIG, vocab_size=20))  # which the sizes of all meshes divide
    kinds, weights = (jax.sharding.AxisType.Auto,) * 3, init_params(model, jax.random.key(0))
    laid = shard_params(jax.make_mesh(mesh, AXES, axis_types=kinds), model, weights)
    tokens = np.repeat(TOKENS, 2, axis=0)
    ours = jax.jit(jax.value_and_grad(partial(loss, model)))(laid, tokens)
    plain = jax.jit(jax.value_and_grad(partial(loss, model)))(weights, tokens)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=0), ours, plain)


@pytest.mark.extra
def test_adapters_of_delta_nets_are_merged() -> None:
    lora = LoraConfig(2, 4.0, ("delta_query", "delta_decay", "delta_out", "query"))
    model, adapted = add_lora(Decoder(CONFIG), params(), lora, jax.random.key(1))
    adapted = jax.tree.map_with_path(
        lambda path, leaf: leaf + 0.1 if any("_lora" in str(key) for key in path) else leaf, adapted
    )
    merged_model, merged = merge_lora(model, adapted)
    ours = jax.jit(model.apply)(adapted, TOKENS)
    # Delta nets add up over all tokens, so rounding is compared with the largest of the logits.
    tolerance = 1e-4 * float(jnp.abs(ours).max())
    np.testing.assert_allclose(jax.jit(merged_model.apply)(merged, TOKENS), ours, atol=tolerance)
    assert float(jnp.abs(ours - jax.jit(Decoder(CONFIG).apply)(params(), TOKENS)).max()) > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delta_net": None}, "layer_pattern has delta layers, but delta_net is None: give a DeltaNetConfig"),
        ({"rotary_dim": 3}, r"rotary_dim is 3; give an even number of at most head_dim \(6\)"),
        ({"rotary_dim": 8}, "rotary_dim is 8"),
        ({"layer_pattern": ("delta", "linear")}, 'it takes "global", "local" and "delta"'),
    ],
)
def test_a_configuration_that_cannot_be_says_why(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 3, 4, 4, 4), r"value_heads \(3\) must be a multiple of key_heads \(2\)"),
        ((2, 4, 0, 4, 4), "key_dim is 0; it must be at least 1"),
        ((2, 4, 4, 4, 1), "taps is 1; it takes 2 to 64"),
    ],
)
def test_a_delta_net_that_cannot_be_says_why(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DeltaNetConfig(*sizes)


def test_the_configuration_comes_back_from_json() -> None:
    assert DecoderConfig.from_json(CONFIG.to_json()) == CONFIG
    assert canonical(CONFIG) == CONFIG
    # Without delta layers their shape has no effect.
    assert canonical(dataclasses.replace(CONFIG, layer_pattern=("global",))).delta_net is None
