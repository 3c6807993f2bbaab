"""AdamW: the schedule, the clip, and what decays."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sml_jax.common.errors import UserError
from sml_jax.learn.optimizers import adamw


def steps(optimizer, params, gradient, count):
    state, sizes = optimizer.init(params), []
    for _ in range(count):
        updates, state = optimizer.update(gradient, state, params)
        sizes.append(-float(jnp.ravel(updates["kernel"])[0]))
        params = optax.apply_updates(params, updates)
    return sizes


PARAMS = {"kernel": jnp.zeros((2, 2)), "scale": jnp.ones(2)}
ONES = {"kernel": jnp.full((2, 2), 1.0), "scale": jnp.zeros(2)}


def test_schedules():
    """A constant gradient makes Adam's step the learning rate itself."""
    assert steps(adamw(0.1), PARAMS, ONES, 3) == pytest.approx([0.1] * 3, rel=1e-3)
    assert steps(adamw(0.1, warmup_steps=4), PARAMS, ONES, 6) == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-3
    )
    assert steps(adamw(0.1, warmup_steps=1), PARAMS, ONES, 2) == pytest.approx([0.1, 0.1], rel=1e-3)
    # Half a cosine from 0.1 to a tenth of it, over four steps.
    cosine = [0.1 * (0.1 + 0.9 * (1 + np.cos(np.pi * t / 4)) / 2) for t in range(5)]
    assert steps(adamw(0.1, decay_steps=4, final_fraction=0.1), PARAMS, ONES, 5) == pytest.approx(cosine, rel=1e-3)
    both = steps(adamw(0.1, warmup_steps=2, decay_steps=6), PARAMS, ONES, 8)
    assert both[:2] == pytest.approx([0.05, 0.1], rel=1e-3) and both[6:] == pytest.approx([0, 0], abs=1e-7)
    assert both[1:7] == sorted(both[1:7], reverse=True)


def test_the_first_gradient_of_adam_knows_no_scale_but_the_clip_weighs_later_ones():
    """One huge gradient, clipped to norm 1, does not drown the ones after it."""
    optimizer = adamw(0.1, clip_norm=1.0)
    state = optimizer.init(PARAMS)
    _, clipped = optimizer.update({"kernel": jnp.full((2, 2), 1e6), "scale": jnp.zeros(2)}, state, PARAMS)
    _, plain = optimizer.update({"kernel": jnp.full((2, 2), 0.5), "scale": jnp.zeros(2)}, state, PARAMS)
    for a, b in zip(optax.tree.get(clipped, "mu")["kernel"], optax.tree.get(plain, "mu")["kernel"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_matrices_decay_and_norms_do_not():
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones((3, 2)), "bias": jnp.ones((3, 2)), "vector": jnp.ones(2)}
    optimizer = adamw(0.1, weight_decay=0.5)
    zeros = {name: jnp.zeros_like(value) for name, value in params.items()}
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    # Decoupled decay: learning rate times weight decay times the weight.
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    assert not any(np.any(updates[name]) for name in ("scale", "bias", "vector"))


@pytest.mark.parametrize("setting", ["learning_rate", "warmup_steps", "decay_steps", "weight_decay"])
def test_negative_settings(setting):
    with pytest.raises(UserError, match=f"adamw: {setting} is -1(.0)?; it must be at least 0"):
        adamw(**{setting: -1 if "steps" in setting else -1.0})
