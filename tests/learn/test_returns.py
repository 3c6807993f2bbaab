import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.learn import discounted_returns


def test_known_answers_at_the_papers_discount():
    returns = discounted_returns(jnp.array([0, 1, 2, 3, 4]), 0.7)
    np.testing.assert_allclose(returns, [0.0, 1.0, 0.7, 0.49, 0.343], rtol=1e-6)
    assert returns.dtype == jnp.float32


def test_edges_of_the_discount():
    turns = jnp.array([0, 1, 2, 10])
    np.testing.assert_array_equal(discounted_returns(turns, 1.0), [0, 1, 1, 1])
    np.testing.assert_array_equal(discounted_returns(turns, 0.0), [0, 1, 0, 0])


@settings(deadline=None)
@given(st.integers(1, 20), st.floats(0.1, 0.99))
def test_sooner_is_better_and_never_is_worst(turn, discount):
    sooner, later, never = discounted_returns(jnp.array([turn, turn + 1, 0]), discount)
    assert sooner > later > never == 0


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_outside_its_range_is_refused(discount):
    with pytest.raises(UserError, match="between 0 and 1"):
        discounted_returns(jnp.array([1]), discount)
