import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.learn import group_advantages, group_statistics


def reference(rewards, group_size, normalize, eps=1e-6):
    advantages = []
    for start in range(0, len(rewards), group_size):
        group = [float(r) for r in rewards[start : start + group_size]]
        mean = sum(group) / group_size
        std = (sum((r - mean) ** 2 for r in group) / group_size) ** 0.5
        for r in group:
            if len(set(group)) == 1:
                advantages.append(0.0)
            else:
                advantages.append((r - mean) / (std + eps) if normalize else r - mean)
    return np.array(advantages)


def test_known_answers():
    # Group one: mean 1/4, population variance (9 + 1 + 1 + 1) / 16 / 4 = 3/16. Group two: mean 1/2, std 1/2.
    rewards = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    root = 3**0.5
    np.testing.assert_allclose(
        group_advantages(rewards, 4), [root, -1 / root, -1 / root, -1 / root, 1, -1, 1, -1], rtol=1e-5
    )
    np.testing.assert_array_equal(
        group_advantages(rewards, 4, normalize=False), [0.75, -0.25, -0.25, -0.25, 0.5, -0.5, 0.5, -0.5]
    )


def test_eps_is_added_to_the_standard_deviation():
    np.testing.assert_allclose(group_advantages(jnp.array([1.0, 0.0]), 2, eps=0.5), [0.5, -0.5], rtol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.7, 0.1, 0.343])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_group_without_variance_gets_exactly_zero(value, size, normalize):
    # The float32 mean of, say, seven times 0.7 is not 0.7.
    np.testing.assert_array_equal(group_advantages(jnp.full(2 * size, value), size, normalize=normalize), 0.0)


# A few shapes only: each one compiles.
reward_lists = st.sampled_from([(1, 1), (3, 2), (2, 8)]).flatmap(
    lambda shape: st.tuples(
        st.lists(
            st.sampled_from([0.0, 0.343, 0.49, 0.7, 1.0]),
            min_size=shape[0] * shape[1],
            max_size=shape[0] * shape[1],
        ),
        st.just(shape[1]),
    )
)


@settings(deadline=None)
@given(reward_lists, st.booleans())
def test_agrees_with_plain_loops(case, normalize):
    rewards, size = case
    actual = group_advantages(jnp.array(rewards, jnp.float32), size, normalize=normalize)
    np.testing.assert_allclose(actual, reference(rewards, size, normalize), rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(reward_lists)
def test_statistics_count_the_groups_without_variance(case):
    rewards, size = case
    groups = [rewards[i : i + size] for i in range(0, len(rewards), size)]
    solved = sum(len(set(group)) == 1 and group[0] > 0 for group in groups)
    unsolved = sum(not any(group) for group in groups)
    actual = group_statistics(jnp.array(rewards, jnp.float32), size)
    expected = {"zero_variance": solved + unsolved, "zero_variance_solved": solved, "zero_variance_unsolved": unsolved}
    expected |= {f"{name}_fraction": count / len(groups) for name, count in expected.items()}
    expected["groups"] = len(groups)
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-6, err_msg=name)


def test_rewards_that_are_none_are_in_no_mean():
    """By hand. Group one is 1, 0, 0 (the 9 is none): mean 1/3, variance (4 + 1 + 1) / 9 / 3 = 2/9. In group two
    one reward is left, in group three equal ones are, in group four none is."""
    none = 9.0
    rewards = jnp.array([[1, none, 0, 0], [none, 1, none, none], [none, 0.7, 0.7, none], [none] * 4]).reshape(-1)
    valid, root = rewards != none, 2**0.5
    actual = group_advantages(rewards, 4, valid=valid)
    np.testing.assert_allclose(actual[:4], [root, 0, -root / 2, -root / 2], rtol=1e-5)
    np.testing.assert_array_equal(actual[4:], 0.0)
    plain = group_advantages(rewards, 4, normalize=False, valid=valid)
    np.testing.assert_allclose(plain, [2 / 3, 0, -1 / 3, -1 / 3, *[0] * 12], rtol=1e-6)
    counts = {name: float(value) for name, value in group_statistics(rewards, 4, valid=valid).items()}
    assert (counts["groups"], counts["zero_variance"]) == (3, 2), "a group of which nothing is left is none"
    assert (counts["zero_variance_solved"], counts["zero_variance_unsolved"]) == (2, 0)
    assert counts["zero_variance_fraction"] == pytest.approx(2 / 3)
    nothing = group_statistics(rewards[12:], 4, valid=valid[12:])
    assert {float(value) for value in nothing.values()} == {0.0}


@settings(deadline=None)
@given(reward_lists, st.booleans(), st.data())
def test_valid_rewards_get_what_they_get_among_themselves(case, normalize, data):
    rewards, size = case
    valid = data.draw(st.lists(st.booleans(), min_size=len(rewards), max_size=len(rewards)))
    rewards_given = [r if v else 5.0 for r, v in zip(rewards, valid, strict=True)]
    actual = group_advantages(jnp.array(rewards_given, jnp.float32), size, normalize=normalize, valid=jnp.array(valid))
    for start in range(0, len(rewards), size):
        left = [i for i in range(start, start + size) if valid[i]]
        expected = np.zeros(size)
        if left:
            expected[[i - start for i in left]] = reference([rewards[i] for i in left], len(left), normalize)
        np.testing.assert_allclose(actual[start : start + size], expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(reward_lists, st.booleans())
def test_all_valid_is_the_same_bit_for_bit(case, normalize):
    rewards, size = case
    rewards_given = jnp.array(rewards, jnp.float32)
    every = group_advantages(rewards_given, size, normalize=normalize, valid=jnp.ones(len(rewards), bool))
    np.testing.assert_array_equal(every, group_advantages(rewards_given, size, normalize=normalize))


@pytest.mark.parametrize("function", [group_advantages, group_statistics])
def test_a_batch_that_is_no_whole_number_of_groups_is_refused(function):
    with pytest.raises(UserError, match="7 rewards do not divide into groups of 4"):
        function(jnp.zeros(7), 4)
    with pytest.raises(UserError, match="do not divide"):
        function(jnp.zeros(0), 4)
    with pytest.raises(UserError, match="at least 1"):
        function(jnp.zeros(8), 0)
