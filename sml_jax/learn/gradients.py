"""The gradients of one micro-batch: one forward pass for all streams, and the sum of their losses."""

from __future__ import annotations

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sml_jax.common.errors import UserError
from sml_jax.learn.batch_losses import Metrics, distill_loss, policy_loss, sft_loss
from sml_jax.learn.batches import MicroBatch, ReferencePart
from sml_jax.learn.divergence import hidden_divergence
from sml_jax.learn.logprobs import decoder_logprobs, hidden_logprobs
from sml_jax.learn.losses import TokenLoss
from sml_jax.learn.position_chunks import decoder_head, decoder_states
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
    distill_reference: tuple[Params, jax.Array] | None = None,
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
      distill_reference: if it has a distillation stream, the parameters of the reference, and its hidden states
        [rows, time, width]: the state at t - 1 is the one that predicts the token at t (see `reference_states`).
      mesh: devices that rows are split over; None for one device.
      max_logits: the most logits that a device holds at a time; see `logprobs.hidden_logprobs`.

    Returns:
      The new total, and metrics of this micro-batch: those of `policy_loss`, of `sft_loss` or of `distill_loss`. With
      several streams the metric `loss` is the sum of `policy_loss`, `likelihood_loss` and `distill_loss`;
      `likelihood_tokens` and `distill_tokens` count the tokens of these streams, and `student_tokens` the policy
      stream's.

    Raises:
      UserError: the micro-batch has no stream, or a policy stream and no token loss.
    """
    # A stream is there or not when the function is traced, so what is compiled holds no trace of one that is not.
    policy, likelihood, distill = part.policy, part.likelihood, part.distill
    masks = [stream.weights > 0 for stream in (policy, likelihood) if stream is not None]
    if not masks and distill is None:
        raise UserError(
            "a micro-batch has neither a policy nor a likelihood stream nor a distill stream: give learn.Signals one"
        )
    if policy is not None and token_loss is None:
        raise UserError("a micro-batch has a policy stream: give Learner a token_loss, such as learn.PolicyLoss()")
    settings: dict[str, Any] = {"max_logits": max_logits, "trained": not frozen}

    def loss(p: Params) -> tuple[jax.Array, Metrics]:
        # One forward pass serves all streams.
        params = join_lora(frozen, p)
        hidden = decoder_states(model, params, part.tokens, part.shared)
        head, head_params, layout = decoder_head(model, params, mesh)
        losses: dict[str, tuple[jax.Array, Metrics]] = {}
        if masks:
            scored = reduce(jnp.logical_or, masks)
            logprob = hidden_logprobs(head, head_params, hidden, part.tokens, scored, layout=layout, **settings)
        if policy is not None and token_loss is not None:
            ref_logprob = None
            if reference is not None:
                inputs = reference_model, reference, part.tokens, part.length, scored
                ref_logprob = decoder_logprobs(*inputs, mesh=mesh, shared=part.shared, **settings)
                ref_logprob = jax.lax.stop_gradient(ref_logprob)
            losses["policy"] = policy_loss(
                token_loss, logprob, policy.old_logprob, policy.advantage, masks[0], policy.weights, ref_logprob
            )
        if likelihood is not None:
            losses["likelihood"] = sft_loss(logprob, masks[-1], weights=likelihood.weights)
        if distill is not None and distill_reference is not None:
            _, reference_head, _ = decoder_head(model, distill_reference[0], mesh)
            states = hidden, reference_head, distill_reference[1], distill.weights > 0
            apart = hidden_divergence(distill.divergence, head, head_params, *states, layout=layout, **settings)
            losses["distill"] = distill_loss(apart, distill.weights)
        return _sum_of_streams(losses)

    gradients, metrics = jax.grad(loss, has_aux=True)(trainable)
    return jax.tree.map(jnp.add, total, (gradients, metrics["loss"])), metrics


def reference_states(
    model: Decoder, states: Float[Array, "rows time width"], params: Params, part: ReferencePart
) -> Float[Array, "rows time width"]:
    """Runs a reference policy over its contexts and puts its hidden states where the micro-batch has these tokens.

    Args:
      model, params: the reference's.
      states: of the micro-batch so far.
      part: some of its contexts.

    Returns:
      `states`, with the state that predicts the token at t, in the reference's context, at t - 1.
    """
    hidden = decoder_states(model, params, part.tokens)
    # Both sides are shifted by one: the state before a token, to the place before the token's.
    sources, targets = hidden[:, :-1].reshape(-1, hidden.shape[-1]), part.target[:, 1:].reshape(-1) - 1
    flat = states.reshape(-1, states.shape[-1])
    return flat.at[targets].set(sources, mode="drop").reshape(states.shape)


def _sum_of_streams(losses: dict[str, tuple[jax.Array, Metrics]]) -> tuple[jax.Array, Metrics]:
    """The sum of the streams' losses, and the metrics of each; of several streams under names of their own."""
    if len(losses) == 1:
        return next(iter(losses.values()))
    loss: jax.Array = sum(loss for loss, _ in losses.values())  # type: ignore[assignment]
    metrics: Metrics = {}
    for stream, (stream_loss, of_stream) in losses.items():
        if stream != "policy":
            of_stream = {**of_stream, f"{stream}_tokens": of_stream["student_tokens"]}
            del of_stream["student_tokens"]
        metrics |= {**of_stream, f"{stream}_loss": stream_loss}
    return loss, {**metrics, "loss": loss}
