"""What an update changes: parameters, the optimiser's state, and the count of steps."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.learn.signals import AnyArray
from sml_jax.models.lora import join_lora, split_trainable
from sml_jax.sharding import put_global, replicated

Params = Any


@flax.struct.dataclass
class TrainState:
    """What an update changes.

    Where the parameters hold adapters (`models.lora`), only the adapters change, and `opt_state` is of the adapters
    alone. The base weights are part of `params` too, so that the model can be applied; their arrays are those that the
    caller passed in, not copies.

    Attributes:
      step: int32 scalar, optimiser steps taken.
      params: the model's parameters.
      opt_state: the optimiser's state.
    """

    step: AnyArray
    params: Params
    opt_state: optax.OptState

    def trainable(self) -> TrainState:
        """The state without the base weights under adapters: what an update changes and a checkpoint must hold.

        Without adapters it is the complete state.
        """
        return TrainState(self.step, split_trainable(self.params)[1], self.opt_state)

    def with_base(self, params: Params) -> TrainState:
        """This state from `trainable()` with the base weights of `params` added; adapters in `params` are ignored."""
        return TrainState(self.step, join_lora(split_trainable(params)[0], self.params), self.opt_state)


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step.

    Parameters that are trained are copied, because updates donate them. Base weights under adapters are not copied.
    """
    trainable = jax.tree.map(jnp.copy, split_trainable(params)[1])
    state = TrainState(jnp.zeros((), jnp.int32), trainable, optimizer.init(trainable))
    # Counters go to every device of the parameters' mesh, because a checkpoint restores each leaf to where it was. On
    # one device they are committed to it, as they are after an update: an uncommitted array would compile another
    # executable.
    params_sharding = jax.tree.leaves(params)[0].sharding
    counters_sharding = (
        NamedSharding(params_sharding.mesh, PartitionSpec())
        if isinstance(params_sharding, NamedSharding)
        else params_sharding
    )
    state = jax.tree.map(
        lambda x: x if isinstance(x.sharding, NamedSharding) else put_global(x, counters_sharding), state
    )
    return state.with_base(params)


def abstract_state(params: Params, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """What `init_state` would return, as shapes, dtypes and shardings; no array is made.

    Args:
      params: abstract parameters on the mesh (see `models.layout.sharded_param_shapes`).
      optimizer: from optax.
      mesh: the mesh that the parameters are on.
    """
    trainable, replicated_sharding = split_trainable(params)[1], replicated(mesh)
    opt_state_shapes = jax.eval_shape(optimizer.init, trainable)
    # Moments are sharded as their parameters are; counters are on every device.
    opt_state = optax.tree.map_params(
        optimizer,
        lambda leaf, parameter: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=parameter.sharding),
        opt_state_shapes,
        trainable,
        transform_non_params=lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated_sharding),
    )
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated_sharding)
    return TrainState(step, trainable, opt_state).with_base(params)
