"""Products with hand-written gradients against autodiff's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sml_jax.models.ops.gate_product import gate_product
from sml_jax.models.ops.products import projection

SHAPES = [((2, 3, 4), (4, 5), 1), ((2, 3, 5), (5, 2), 1), ((2, 3, 4), (4, 3, 2), 1), ((2, 3, 2, 4), (2, 4, 6), 2)]


def normal(seed: int, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(("x", "kernel", "inner"), SHAPES, ids=str)
def test_a_projection_and_its_gradients_are_those_of_tensordot(x, kernel, inner) -> None:
    """Kernels that are wider than what they are given, narrower, of several heads, and from several heads."""
    args = normal(0, x), normal(1, kernel)
    axes = tuple(range(len(x) - inner, len(x))), tuple(range(inner))
    out, pull = jax.vjp(lambda x, kernel: projection(x, kernel, (axes, ((), ())), precision=None), *args)
    wanted, wanted_pull = jax.vjp(lambda x, kernel: jnp.tensordot(x, kernel, inner), *args)
    np.testing.assert_allclose(out, wanted, rtol=1e-6)
    slope = normal(2, wanted.shape)
    for mine, theirs in zip(pull(slope), wanted_pull(slope), strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_projection_does_not_take_what_it_would_ignore() -> None:
    with pytest.raises(AssertionError):
        projection(normal(0, (2, 3)), normal(1, (3, 4)), (((1,), (0,)), ((), ())), precision="highest")
    with pytest.raises(AssertionError):
        projection(normal(0, (2, 3)), normal(1, (2, 4)), (((0,), (0,)), ((), ())))


@pytest.mark.parametrize(("activation", "function"), [("silu", nn.silu), ("gelu", nn.gelu)])
def test_a_gate_and_its_gradients_are_those_of_autodiff(activation, function) -> None:
    gate, up, slope = (normal(seed, (2, 3, 4)) for seed in range(3))
    out, pull = jax.vjp(lambda gate, up: gate_product(activation, gate, up), gate, up)
    wanted, wanted_pull = jax.vjp(lambda gate, up: function(gate) * up, gate, up)
    np.testing.assert_allclose(out, wanted, rtol=1e-6)
    for mine, theirs in zip(pull(slope), wanted_pull(slope), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_gate_keeps_its_two_factors_alone() -> None:
    _, pull = jax.vjp(lambda gate, up: gate_product("silu", gate, up), normal(0, (2, 3, 4)), normal(1, (2, 3, 4)))
    assert sum(leaf.size for leaf in jax.tree.leaves(pull)) == 2 * 24
