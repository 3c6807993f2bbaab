import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.learn import AGGREGATIONS, token_weights

MASK = jnp.array([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)


def reference(mask, losses, aggregation, max_tokens, share):
    """The loss itself, as the papers write it."""
    dialogues = [
        [float(loss) for unpadded, loss in zip(row, values, strict=True) if unpadded]
        for row, values in zip(mask, losses, strict=True)
    ]
    if aggregation == "sequence":
        total = sum(w * sum(d) / len(d) for w, d in zip(share, dialogues, strict=True) if d)
        count = sum(share)
    elif aggregation == "token":
        total = sum(w * sum(d) for w, d in zip(share, dialogues, strict=True))
        count = sum(w * len(d) for w, d in zip(share, dialogues, strict=True))
    else:
        total = sum(w * sum(d) for w, d in zip(share, dialogues, strict=True))
        count = sum(share) * max_tokens
    return total / count if count else 0.0


@pytest.mark.parametrize(
    ("aggregation", "first", "second"),
    [("sequence", 1 / 6, 1 / 3), ("token", 1 / 3, 1 / 3), ("constant", 1 / 12, 1 / 12)],
)
def test_known_answers(aggregation, first, second):
    # Three dialogues of 2, 1 and 0 student tokens; the empty one counts among the dialogues.
    weights = token_weights(MASK, aggregation, max_tokens=4)
    np.testing.assert_allclose(weights, [[0, first, first, 0], [second, 0, 0, 0], [0, 0, 0, 0]], rtol=1e-6)


def test_the_papers_aggregation_is_the_default():
    np.testing.assert_array_equal(token_weights(MASK), token_weights(MASK, "sequence"))


def test_a_dialogue_of_weight_zero_leaves_sum_and_divisor():
    share = jnp.array([1.0, 0.0, 0.0])
    for aggregation, each in (("sequence", 1 / 2), ("token", 1 / 2), ("constant", 1 / 4)):
        weights = token_weights(MASK, aggregation, 4, dialogue_weight=share)
        np.testing.assert_allclose(weights, [[0, each, each, 0], [0] * 4, [0] * 4], rtol=1e-6, err_msg=aggregation)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_nothing_to_learn_from_gives_zeros_not_nan(aggregation):
    np.testing.assert_array_equal(token_weights(jnp.zeros((2, 3), bool), aggregation, 3), 0.0)
    np.testing.assert_array_equal(token_weights(MASK, aggregation, 3, dialogue_weight=jnp.zeros(3)), 0.0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 1), (3, 5), (4, 7)]), st.sampled_from(AGGREGATIONS))
def test_the_weighted_sum_is_the_loss_of_the_papers(seed, shape, aggregation):
    rng = np.random.default_rng(seed)
    mask, losses = rng.random(shape) < 0.4, rng.normal(size=shape)
    share = rng.choice([0.0, 0.25, 1.0, 2.0], shape[0])
    for dialogue_weight in (None, share):
        weights = token_weights(
            jnp.array(mask),
            aggregation,
            9,
            dialogue_weight=None if dialogue_weight is None else jnp.array(share, jnp.float32),
        )
        expected = reference(mask, losses, aggregation, 9, [1.0] * shape[0] if dialogue_weight is None else share)
        np.testing.assert_allclose(np.sum(np.asarray(weights, np.float64) * losses), expected, rtol=1e-5, atol=1e-6)


def test_an_unknown_name_is_answered_with_the_options():
    with pytest.raises(UserError, match=r"'mean'.*'sequence', 'token', 'constant'"):
        token_weights(MASK, "mean")


@pytest.mark.parametrize("max_tokens", [None, 0])
def test_constant_needs_its_constant(max_tokens):
    with pytest.raises(UserError, match="max_tokens"):
        token_weights(MASK, "constant", max_tokens)
