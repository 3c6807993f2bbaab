"""Meshes over the eight simulated devices, and where rows and parameters lie on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from sml_jax.common.errors import UserError
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.layout import shard_params
from sml_jax.sharding import make_mesh, num_row_shards, row_sharding, shard_rows

MODEL = Decoder(
    DecoderConfig(vocab_size=12, embed_dim=8, layers=2, heads=4, kv_heads=2, head_dim=4, mlp_dim=16, max_length=16)
)


@pytest.fixture(scope="module")
def params() -> dict:
    return init_params(MODEL, jax.random.key(0))


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ((), (8, 1, 1)),
        ((-1, 2, 2), (2, 2, 2)),
        ((2, -1, 1), (2, 4, 1)),
        ((1, 1, 8), (1, 1, 8)),
        ((8, 1, -1), (8, 1, 1)),
    ],
)
def test_sizes(sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    mesh = make_mesh(*sizes)
    assert tuple(mesh.shape.values()) == shape and mesh.axis_names == ("data", "fsdp", "tensor")
    assert num_row_shards(mesh) == shape[0] * shape[1]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((-1, -1, 1), "give positive ones, at most one -1"),
        ((0, 1, 1), "give positive ones"),
        ((-2, 1, 1), "give positive ones"),
        ((3, 1, 1), "is not 8 devices"),
        ((-1, 3, 1), "is not 8 devices"),
        ((-1, 16, 1), "is not 8 devices"),
    ],
)
def test_sizes_that_cannot_be(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_mesh(*sizes)


def test_sizes_that_no_axes_of_a_torus_have_split_one(monkeypatch) -> None:
    """As on a v6e:8x16 for data 4 x fsdp 4 x tensor 8, of which JAX says that it has no assignment."""

    def no_assignment(*args, **options):
        raise NotImplementedError("Failed to find assignment for logical_axis_index 1 of size 4")

    plain = make_mesh(2, 2, 2)
    monkeypatch.setattr(jax, "make_mesh", no_assignment)
    split = make_mesh(2, 2, 2)
    assert split.shape == plain.shape and split.axis_types == plain.axis_types
    assert set(split.devices.flat) == set(jax.devices())
    assert make_mesh(over=jax.devices()[:4]).shape["data"] == 4


def test_rows_are_split_over_data_and_fsdp() -> None:
    mesh = make_mesh(2, 2, 2)
    placed = jax.device_put(jnp.arange(24.0).reshape(8, 3), row_sharding(mesh))
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 3)}
    placed = jax.device_put(jnp.arange(24.0).reshape(3, 8), row_sharding(mesh, axis=1))
    assert {shard.data.shape for shard in placed.addressable_shards} == {(3, 2)}


def test_parameters_lie_by_their_logical_axes_and_keep_their_values(params) -> None:
    sharded = shard_params(make_mesh(2, 2, 2), MODEL, params)
    layers = sharded["params"]["layers"]
    assert sharded["params"]["embedding"]["embedding"].sharding.spec == P("tensor", "fsdp")
    assert layers["attention"]["query"]["kernel"].sharding.spec == P(None, "fsdp", "tensor", None)
    assert layers["attention"]["out"]["kernel"].sharding.spec == P(None, "tensor", None, "fsdp")
    assert layers["mlp"]["down"]["kernel"].sharding.spec == P(None, "tensor", "fsdp")
    jax.tree.map(np.testing.assert_array_equal, sharded, params)


def test_logits_are_the_same_on_every_layout(params) -> None:
    tokens = np.random.default_rng(0).integers(0, 12, (8, 6))
    apply = jax.jit(MODEL.apply)
    alone = apply(params, tokens)
    for sizes in ((8, 1, 1), (2, 2, 2)):
        mesh = make_mesh(*sizes)
        spread = apply(shard_params(mesh, MODEL, params), jax.device_put(tokens, row_sharding(mesh)))
        np.testing.assert_allclose(spread, alone, atol=1e-5)


def test_a_dimension_that_does_not_divide_is_named(params) -> None:
    with pytest.raises(UserError, match=r"parameter .*'key'.* has a dimension of 2, which tensor=4 does not divide"):
        shard_params(make_mesh(1, 2, 4), MODEL, params)


def test_rows_that_do_not_divide_are_filled_up_and_split() -> None:
    mesh = make_mesh(2, 2, 2)
    tokens, length = shard_rows(mesh, (np.arange(15).reshape(5, 3), np.arange(5)))
    assert tokens.shape == (8, 3) and length.shape == (8,)
    assert tokens.sharding == row_sharding(mesh) and tokens.addressable_shards[0].data.shape == (2, 3)
    np.testing.assert_array_equal(tokens[:5], np.arange(15).reshape(5, 3))
    assert not tokens[5:].any() and not length[5:].any()
