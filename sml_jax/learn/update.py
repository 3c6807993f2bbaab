"""The update: gradients of a batch added up over micro-batches, then one optimiser step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from sml_jax.common.executables import Executable, executable_count
from sml_jax.learn.batch_losses import Metrics
from sml_jax.learn.batches import MicroBatch, split_prefix_blocks
from sml_jax.learn.gradients import add_gradients, reference_states
from sml_jax.learn.losses import TokenLoss
from sml_jax.learn.optimizers import running_mean
from sml_jax.learn.signals import LikelihoodSignal, PolicySignal
from sml_jax.learn.train_state import TrainState
from sml_jax.models.decoder import Decoder
from sml_jax.models.lora import check_lora, join_lora, split_lora, split_trainable, without_lora
from sml_jax.sharding import (
    host_readable,
    num_row_shards,
    padded_row_count,
    replicated,
    row_sharding,
    shard_rows,
)

Params = Any
# Metrics that add up over micro-batches, and those that are maxima; all others are means over trained tokens.
_SUMS = (
    "loss", "policy_loss", "likelihood_loss", "distill_loss", "student_tokens", "likelihood_tokens", "distill_tokens"
)  # fmt: skip
# The means that are not over the tokens of the policy stream, where there are several streams.
_TOKENS_OF = {"nll": "likelihood_tokens", "divergence": "distill_tokens"}
_MAXIMA = ("ratio_max", "logprob_mismatch_max")


class Learner:
    """Takes optimiser steps: adds up the gradients of a batch's micro-batches, then applies them.

    With adapters, gradients, clipping, weight decay and the optimiser's state cover the adapters alone. The base
    weights are neither differentiated nor donated.

    Args:
      model: the decoder to train; only its adapters are trained if its configuration has `lora`.
      optimizer: from optax.
      token_loss: the loss of each token in the policy stream, such as `losses.PolicyLoss`; None if no micro-batch has
        that stream.
      reference: parameters of the reference policy, with or without adapters; not used unless `token_loss` says that it
        needs them (`PolicyLoss` does where `kl_coef` is positive).
      mesh: devices that the rows of micro-batches are split over; None for parameters on one device.
      max_logits: the most logits that a device holds at a time (see `logprobs.hidden_logprobs`).
    """

    def __init__(
        self,
        model: Decoder,
        optimizer: optax.GradientTransformation,
        token_loss: TokenLoss | None = None,
        reference: Params | None = None,
        mesh: Mesh | None = None,
        max_logits: int | None = None,
    ):
        self.optimizer = optimizer
        self._mesh, self._max_logits = mesh, max_logits
        self._reference = reference if getattr(token_loss, "needs_reference", False) else None
        self._model, self._token_loss = model, token_loss
        # The reference may come with adapters or without, and is scored by a model of its own form.
        has_adapters = self._reference is not None and split_lora(self._reference)[1]
        self._reference_model = model if has_adapters else without_lora(model)
        # Jitted functions, made at the first update, when shardings are known.
        self._zero_gradients: Any = None
        self._gradients: Any = None
        self._reference_states: Any = None
        self._apply: Any = None

    def update(self, state: TrainState, parts: Sequence[MicroBatch]) -> tuple[TrainState, dict[str, float]]:
        """Takes one optimiser step on a batch.

        Args:
          state: the state to continue from. Its buffers are donated, except base weights under adapters, so that it
            cannot be used again.
          parts: the batch, cut into micro-batches whose weights are shares of the whole batch's loss; at least one.

        Returns:
          The new state, and metrics as host floats: those of the loss, `gradient_norm` (before clipping),
          `update_norm`, and `skipped`: 1 if the loss, the gradients or the updated parameters were not finite, else 0.
          After a skipped step the state is unchanged, the optimiser's moments and count of steps included.

        Raises:
          UserError: the micro-batches have no stream, or a policy stream without a token loss; or the model and the
            parameters do not both have adapters, or both have none.
        """
        params = state.params
        frozen, _ = split_trainable(params)
        state = state.trainable()
        self._make(params, state)

        # Gradients are added up on the devices. Nothing is fetched in between, so that the host prepares the next
        # micro-batch while they compute.
        gradients, loss = self._zero_gradients(state.params)
        metrics_of_parts = []
        for part in parts:
            if self._mesh is not None:
                # Rows that share a prefix must be on one device.
                device_rows = padded_row_count(self._mesh, len(part.tokens)) // num_row_shards(self._mesh)
                part = shard_rows(self._mesh, split_prefix_blocks(part, device_rows))
            distill_reference = None
            if part.distill is not None:
                # The running mean of the parameters, if the optimiser keeps one, else the parameters themselves.
                teacher = join_lora(frozen, running_mean(state.opt_state, state.params))
                distill_reference = teacher, self._states_of(teacher, part)
                part = part.replace(distill=part.distill.replace(references=()))  # type: ignore[attr-defined]
            (gradients, loss), metrics = self._gradients(
                (gradients, loss), state.params, frozen, self._reference, part, distill_reference
            )
            metrics_of_parts.append(metrics)

        # One step on the sum.
        state, norms = self._apply(state, gradients, loss)
        return state.with_base(params), {
            **_combine(jax.device_get(metrics_of_parts)),
            **{k: float(v) for k, v in norms.items()},
        }

    def _states_of(self, teacher: Params, part: MicroBatch) -> jax.Array:
        """The reference's hidden states for the tokens of a micro-batch, see `gradients.reference_states`."""
        config = self._model.config
        shape = (*part.tokens.shape, config.embed_dim)
        sharding = None if self._mesh is None else row_sharding(self._mesh)
        states = jnp.zeros(shape, config.compute_dtype, device=sharding)
        for context in part.distill.references:  # type: ignore[union-attr]
            states = self._reference_states(states, teacher, context)
        return states

    def warm_up(
        self, state: TrainState, rows: int, buckets: Sequence[int], streams: Sequence[str] = ("policy",)
    ) -> TrainState:
        """Compiles the gradients of micro-batches of `rows` rows, one executable a bucket, and the optimiser's step.

        Args:
          state: a state as for `update`, which donates its buffers.
          rows: rows of a micro-batch.
          buckets: padded lengths of later micro-batches.
          streams: the streams of later micro-batches, some of "policy" and "likelihood".

        Returns:
          A state with the same values, bit for bit, to use in place of `state`: the step that is taken is one that
          `update` skips.
        """
        for time in buckets:
            empty = _empty_micro_batch(rows, time, streams)
            # A weight that is not finite makes a loss that is not, so the step is skipped.
            for stream in (empty.policy, empty.likelihood):
                if stream is not None:
                    stream.weights[0, 1:2] = np.inf
            state, _ = self.update(state, [empty])
        return state

    def executable_count(self) -> int:
        """How many executables have been compiled so far. It must not grow after `warm_up`."""
        functions = (self._gradients, self._reference_states, self._apply)
        return sum(map(executable_count, functions)) if self._gradients is not None else 0

    def programs(
        self,
        state: TrainState,
        rows: int,
        bucket: int,
        streams: Sequence[str] = ("policy",),
        micro_batches: int = 1,
        steps: int = 1,
    ) -> tuple[Executable, ...]:
        """The executables of this learner for micro-batches of one shape, with abstract arguments.

        No array is made, so the mesh may be of devices that do not exist on this machine. The learner must have a mesh.

        Args:
          state: from `abstract_state`, on this learner's mesh.
          rows: rows of a micro-batch, rounded up to a multiple of the mesh's row shards. bucket: its padded length.
          streams: as in `warm_up`.
          micro_batches, steps: how often the planned job takes gradients, and how often the optimiser steps.

        Returns:
          Two executables, named "gradients of ..." (reads "params", "gradients" and, with a reference policy,
          "reference") and "optimiser's step" (reads "params", "gradients" and "opt_state").
        """
        assert self._mesh is not None, "abstract arguments need a mesh to lie on"
        mesh, params = self._mesh, state.params
        frozen, _ = split_trainable(params)
        state = state.trainable()
        self._make(params, state)
        rows = padded_row_count(mesh, rows)
        part = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=row_sharding(mesh)),
            _empty_micro_batch(rows, bucket, streams),
        )
        # The arguments of the two jitted functions, as `update` gives them.
        loss = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(mesh))
        gradients = state.params  # of the same shapes, dtypes and shardings
        reads = ("params", "gradients")
        return (
            Executable(
                f"gradients of {rows} x {bucket}",
                ("gradients", rows, bucket, tuple(streams), self._token_loss),
                self._gradients,
                ((gradients, loss), state.params, frozen, self._reference, part),
                micro_batches,
                (*reads, "reference") if self._reference is not None else reads,
            ),
            Executable(
                "optimiser's step",
                ("step", id(self.optimizer)),
                self._apply,
                (state, gradients, loss),
                steps,
                (*reads, "opt_state"),
            ),
        )

    def _make(self, params: Params, state: TrainState) -> None:
        """Makes the jitted functions, once.

        Results are given the shardings of the arguments: if XLA chose them, the second step could compile anew.
        """
        if self._gradients is not None:
            return
        check_lora(self._model, params)
        shardings = jax.tree.map(lambda x: x.sharding, state)
        metrics_sharding = None if self._mesh is None else host_readable(self._mesh)
        leaves, structure = jax.tree.flatten((shardings.params, shardings.step))
        # Learners of the same loss share what was compiled, if the loss cannot have changed since it was traced.
        jit_gradients = _jit_gradients if _is_constant(self._token_loss) else _jit_gradients.__wrapped__
        self._zero_gradients, self._gradients = jit_gradients(
            self._model,
            self._reference_model,
            self._token_loss,
            self._mesh,
            self._max_logits,
            tuple(leaves),
            structure,
            metrics_sharding,
        )
        rows_sharding = None if self._mesh is None else row_sharding(self._mesh)
        self._reference_states = jax.jit(
            partial(reference_states, self._model), donate_argnums=0, out_shardings=rows_sharding
        )
        self._apply = jax.jit(
            partial(_apply, self.optimizer), donate_argnums=0, out_shardings=(shardings, metrics_sharding)
        )


def _is_constant(token_loss: TokenLoss | None) -> bool:
    """Whether a loss is equal to another only if it computes the same: no loss, or a frozen dataclass."""
    settings = getattr(type(token_loss), "__dataclass_params__", None)
    return token_loss is None or (settings is not None and settings.frozen)


# Stages of a recipe mostly share model and loss. The limit bounds the memory of a process that goes on to other models.
@lru_cache(maxsize=8)
def _jit_gradients(
    model: Decoder,
    reference_model: Decoder,
    token_loss: TokenLoss | None,
    mesh: Mesh | None,
    max_logits: int | None,
    shardings: tuple[Any, ...],
    structure: Any,
    metrics_sharding: Any,
) -> tuple[Any, Any]:
    """Makes the jitted functions that give zero gradients and that add a micro-batch's to them.

    Args:
      model, reference_model, token_loss, mesh, max_logits: as for `add_gradients`.
      shardings, structure: where gradients and loss lie: the leaves and the structure of a tree.
      metrics_sharding: where metrics lie; None for XLA's choice.
    """
    gradients_and_loss = jax.tree.unflatten(structure, shardings)
    add_to_total = partial(add_gradients, model, reference_model, token_loss, mesh=mesh, max_logits=max_logits)
    return (
        # Zeros are made in place on each device, since gradients are as large as the parameters.
        jax.jit(lambda params: (optax.tree.zeros_like(params), jnp.zeros(())), out_shardings=gradients_and_loss),
        jax.jit(add_to_total, donate_argnums=0, out_shardings=(gradients_and_loss, metrics_sharding)),
    )


def _empty_micro_batch(rows: int, time: int, streams: Sequence[str]) -> MicroBatch:
    """Full rows of token 0 whose loss has no weight; NumPy arrays."""

    def zeros(dtype: type = np.float32) -> np.ndarray:
        return np.zeros((rows, time), dtype)

    policy = PolicySignal(zeros() + 1, zeros(), zeros()) if "policy" in streams else None
    likelihood = LikelihoodSignal(zeros()) if "likelihood" in streams else None
    return MicroBatch(zeros(np.int32), np.full(rows, time, np.int32), policy, likelihood)


def _apply(
    optimizer: optax.GradientTransformation, state: TrainState, gradients: Params, loss: jax.Array
) -> tuple[TrainState, Metrics]:
    """One optimiser step; the state as it was if the loss, the gradients or the new parameters are not finite."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    norms = {"gradient_norm": optax.tree.norm(gradients), "update_norm": optax.tree.norm(updates)}
    # One number that is not finite makes a norm not finite, so the norms tell of all arrays.
    finite = jnp.all(jnp.isfinite(jnp.stack([loss, *norms.values(), optax.tree.norm(params)])))
    new_state = jax.tree.map(partial(jnp.where, finite), TrainState(state.step + 1, params, opt_state), state)
    return new_state, {**norms, "skipped": 1.0 - finite}


def _combine(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """Metrics of a whole batch from those of its micro-batches: sums, maxima, and means weighted by trained tokens."""
    # Every micro-batch of a batch has the same streams, hence the same metrics.
    values_of_metric = {name: np.array([float(part[name]) for part in parts]) for name in parts[0]}

    def mean(name: str) -> float:
        # With several streams present, each stream's means are over its own tokens.
        token_counter = _TOKENS_OF.get(name, "student_tokens")
        token_counter = token_counter if token_counter in values_of_metric else "student_tokens"
        token_share = values_of_metric[token_counter] / max(values_of_metric[token_counter].sum(), 1.0)
        return float((values_of_metric[name] * token_share).sum())

    combine_rules: dict[str, Callable[[str], float]] = dict.fromkeys(
        _SUMS, lambda name: float(values_of_metric[name].sum())
    )
    combine_rules |= dict.fromkeys(_MAXIMA, lambda name: float(values_of_metric[name].max()))
    return {name: combine_rules.get(name, mean)(name) for name in values_of_metric}
