"""Shapes that do not belong together are refused in words, without a checker of annotations."""

import jaxtyping
import numpy as np
import pytest

from sml_jax.common.errors import UserError
from sml_jax.learn import (
    discounted_returns,
    group_advantages,
    group_statistics,
    grpo_loss,
    grpo_token_loss,
    sft_loss,
    token_logprobs,
    token_weights,
    turns_to_tokens,
)

B, T = 3, 4
ROW, MATRIX, MASK = np.zeros(B, np.float32), np.zeros((B, T), np.float32), np.ones((B, T), bool)


@pytest.fixture(autouse=True)
def no_annotations_checked():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (
            lambda: grpo_token_loss(MATRIX, MATRIX, np.zeros((B, 1))),
            r"advantage has shape \[3, 1\] and logprob \[3, 4\]",
        ),
        (lambda: grpo_token_loss(MATRIX, MATRIX, np.zeros(T)), r"advantage has shape \[4\].*one a dialogue, \[3\]"),
        (lambda: grpo_token_loss(MATRIX, MATRIX.T, ROW), r"logprob \[3, 4\], old_logprob \[4, 3\]; give"),
        (lambda: grpo_token_loss(ROW, ROW, ROW), r"logprob \[3\], old_logprob \[3\]; give .*\[batch, time\]"),
        (lambda: grpo_loss(MATRIX, MATRIX, MATRIX.T, MASK), r"grpo_loss: advantage has shape \[4, 3\]"),
        (lambda: grpo_loss(MATRIX, MATRIX, ROW, MASK[:, 1:]), r"mask \[3, 3\]"),
        (lambda: grpo_loss(MATRIX, MATRIX, ROW, MASK, weights=ROW), r"weights \[3\]"),
        (lambda: sft_loss(MATRIX, MASK[0]), r"sft_loss: .*mask \[4\]"),
        (lambda: token_weights(MASK[0]), r"mask has shape \[4\]"),
        (lambda: token_weights(MASK, dialogue_weight=np.ones(T)), r"dialogue_weight has shape \[4\] .*\[3\]"),
        (lambda: group_advantages(MATRIX, 3), r"rewards have shape \(3, 4\)"),
        (lambda: group_advantages(ROW, 3, valid=MASK), r"valid has shape \[3, 4\]"),
        (lambda: group_statistics(ROW, 3, valid=MASK[0]), r"valid has shape \[4\]"),
        (lambda: discounted_returns(np.zeros((B, 1), int), 0.7), r"solved_turn \[3, 1\]"),
        (lambda: token_logprobs(np.zeros((B, T)), np.zeros((B, T), int)), r"logits have shape \[3, 4\]"),
        (lambda: turns_to_tokens(ROW, MATRIX), r"by_turn has shape \[3\] and turn \[3, 4\]"),
    ],
)
def test_the_error_names_the_shapes(call, shapes):
    with pytest.raises(UserError, match=shapes):
        call()


def test_an_advantage_for_each_dialogue_is_one_for_each_of_its_tokens():
    rng = np.random.default_rng(0)
    logprob, old_logprob = rng.normal(size=(2, B, T)).astype(np.float32)
    advantage = rng.normal(size=B).astype(np.float32)
    by_dialogue, _ = grpo_token_loss(logprob, old_logprob, advantage)
    by_token, _ = grpo_token_loss(logprob, old_logprob, np.repeat(advantage[:, None], T, axis=1))
    assert by_dialogue.shape == (B, T)
    np.testing.assert_array_equal(by_dialogue, by_token)
    whole, _ = grpo_loss(logprob, old_logprob, advantage, MASK)
    np.testing.assert_array_equal(whole, grpo_loss(logprob, old_logprob, by_token * 0 + advantage[:, None], MASK)[0])
