"""The gradients of one micro-batch: one forward pass for both streams, and the sum of their losses."""

from __future__ import annotations

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sml_jax.common.errors import UserError
from sml_jax.learn.batch_losses import Metrics, policy_loss, sft_loss
from sml_jax.learn.batches import MicroBatch
from sml_jax.learn.logprobs import decoder_logprobs
from sml_jax.learn.losses import TokenLoss
from sml_jax.models.decoder import Decoder
from sml_jax.models.lora import join_lora

Params = Any


def add_gradients(
    model: Decoder,
    reference_model: Decoder,
    token_loss: TokenLoss | None,
    total: tuple[Params, jax.Array],
    trainable: Params,
    frozen: Params,
    reference: Params | None,
    part: MicroBatch,
    *,
    mesh: Mesh | None = None,
    max_logits: int | None = None,
) -> tuple[tuple[Params, jax.Array], Metrics]:
    """Adds a micro-batch's gradients and loss to `total`.

    Args:
      model: the decoder in training. reference_model: the decoder that `reference` holds the parameters of.
      token_loss: the loss of each token in the policy stream.
      total: sums over the micro-batches before this one: the gradients, shaped as `trainable`, and the loss.
      trainable, frozen: the parameters, split by `models.lora.split_trainable`.
      reference: parameters of the reference policy, if the token loss needs one.
      part: the micro-batch. Which of its streams are None is static under `jit`.
      mesh: devices that rows are split over; None for one device.
      max_logits: the most logits that a device holds at a time; see `logprobs.hidden_logprobs`.

    Returns:
      The new total, and metrics of this micro-batch: those of `policy_loss`, of `sft_loss`, or of both. With both
      streams the metric `loss` is the sum of `policy_loss` and `likelihood_loss`, `student_tokens` counts the policy
      stream's tokens and `likelihood_tokens` those of the likelihood stream.

    Raises:
      UserError: the micro-batch has no stream, or a policy stream and no token loss.
    """
    # A stream is there or not when the function is traced, so what is compiled holds no trace of one that is not.
    policy, likelihood = part.policy, part.likelihood
    masks = [stream.weights > 0 for stream in (policy, likelihood) if stream is not None]
    if not masks:
        raise UserError("a micro-batch has neither a policy nor a likelihood stream: give learn.Signals one of them")
    if policy is not None and token_loss is None:
        raise UserError("a micro-batch has a policy stream: give Learner a token_loss, such as learn.PolicyLoss()")
    scored = reduce(jnp.logical_or, masks)

    def logprobs(scorer: Decoder, p: Params) -> jax.Array:
        return decoder_logprobs(
            scorer,
            p,
            part.tokens,
            part.length,
            scored,
            mesh=mesh,
            max_logits=max_logits,
            trained=not frozen,
            shared=part.shared,
        )

    def loss(p: Params) -> tuple[jax.Array, Metrics]:
        # One forward pass scores the tokens of both streams.
        logprob = logprobs(model, join_lora(frozen, p))
        losses: list[tuple[jax.Array, Metrics]] = []
        if policy is not None and token_loss is not None:
            ref_logprob = None if reference is None else jax.lax.stop_gradient(logprobs(reference_model, reference))
            losses.append(
                policy_loss(
                    token_loss, logprob, policy.old_logprob, policy.advantage, masks[0], policy.weights, ref_logprob
                )
            )
        if likelihood is not None:
            losses.append(sft_loss(logprob, masks[-1], weights=likelihood.weights))
        return losses[0] if len(losses) == 1 else _sum_of_streams(*losses)

    gradients, metrics = jax.grad(loss, has_aux=True)(trainable)
    return jax.tree.map(jnp.add, total, (gradients, metrics["loss"])), metrics


def _sum_of_streams(
    policy: tuple[jax.Array, Metrics], likelihood: tuple[jax.Array, Metrics]
) -> tuple[jax.Array, Metrics]:
    """The loss of both streams, and the metrics of each under a name of its own."""
    loss = policy[0] + likelihood[0]
    return loss, {
        **policy[1],
        "nll": likelihood[1]["nll"],
        "likelihood_tokens": likelihood[1]["student_tokens"],
        "policy_loss": policy[0],
        "likelihood_loss": likelihood[0],
        "loss": loss,
    }
