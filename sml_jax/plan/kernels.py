"""The programs of a job, with abstract arguments laid out on a mesh. The one place that knows the owners' signatures.

The engine's and the learner's own functions are compiled, jitted as these jit them; nothing of the job is written here
a second time but their arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from sml_jax.engine.caches import empty_cache
from sml_jax.engine.engine import CHUNKS, STEPS, Engine, longest_cache_length, rows_of_a_shard
from sml_jax.engine.layer_params import unstack_layers, weight_shardings
from sml_jax.engine.sampling import Sampling
from sml_jax.learn.batches import micro_batches
from sml_jax.learn.update import Learner, TrainState
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import sharded_param_shapes
from sml_jax.models.lora import split_trainable
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.plan.job import Dialogues, Job, Update
from sml_jax.sharding import (
    cache_sharding,
    decode_loop_sharding,
    num_decode_loops,
    num_row_shards,
    padded_row_count,
    replicated,
    row_sharding,
)

ENDS = 2  # how many tokens end a turn, about; they cost nothing

Arrays = Any  # a tree of jax.ShapeDtypeStruct, each with a sharding


@dataclass(frozen=True)
class Program:
    """A jitted function and what it is called with.

    Attributes:
      name: for the table.
      key: two of one key, model and mesh are the same program.
      jitted, args: `jitted.lower(*args)` compiles it.
      covers: kinds of the resident state that are among its arguments.
      calls: for one batch of dialogues.
      open_trips: how often its loop runs in a call, where that is not fixed; None for the most.
      unrolled: its layers stand one after another, so that a deep model takes long to compile.
      later: kinds of the resident state that are its result, or come after it, and are not there while it runs.
    """

    name: str
    key: Hashable
    jitted: Any
    args: tuple[Any, ...]
    covers: tuple[str, ...]
    calls: int
    open_trips: int | None = None
    unrolled: bool = False
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """What runs while the same state is resident.

    Attributes:
      state: arrays by kind, resident all the time. dialogues: that it handles; 0 for none.
    """

    name: str
    state: Mapping[str, Arrays]
    programs: tuple[Program, ...]
    dialogues: int = 0


def phases(job: Job, mesh: Mesh, rollout_mesh: Mesh | None = None) -> list[Phase]:
    """Every phase of a job on a mesh: rollouts, updates, evaluation.

    Args:
      rollout_mesh: the same devices as rollouts and evaluation split them; None for the same mesh.

    Raises:
      UserError: a dimension of a parameter that a mesh does not divide.
    """
    model = Decoder(job.model)
    params = sharded_param_shapes(model, mesh)
    frozen, trainable = split_trainable(params)
    both = {"student's parameters": params, "frozen parameters": trainable if frozen else params}
    rolls = rollout_mesh or mesh
    found = []
    for dialogues, update in job.stages:
        state: dict[str, Arrays] = dict(both)
        train_state = _train_state(update, trainable, mesh) if update else None
        if train_state is not None:
            state["optimiser"] = (train_state.step, train_state.opt_state)
        if dialogues is not None:
            found.append(_rollout(job, model, rolls, dialogues, state, f"{dialogues.name}: rollout"))
        if update is not None and train_state is not None:
            found.append(_update(model, mesh, update, state, train_state, params))
    if job.evaluation is not None:
        found.append(_rollout(job, model, rolls, job.evaluation, both, job.evaluation.name))
    return found


def _shardings(tree: Arrays) -> list[Any]:
    return [leaf.sharding for leaf in jax.tree.leaves(tree)]


def _on(sharding: NamedSharding, tree: Any) -> Arrays:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


class _Unplaced(Engine):
    """An engine's jitted functions for devices that hold no arrays."""

    def __init__(self, model: Decoder, rows: int, dialogues: Dialogues, sampling: Sampling, mesh: Mesh):
        self.model, self.rows, self.sampling, self.mesh = model, rows, sampling, mesh
        self.shards, self.steps = num_row_shards(mesh), min(dialogues.budget, STEPS)
        rows_of_a_shard(rows, mesh)
        self.chunks, self.max_rewind = CHUNKS, dialogues.max_rewind
        self.cache_lengths = (longest_cache_length(dialogues.length, CHUNKS, self.steps),)
        self._stop_ids = tuple(range(ENDS))
        self._compile()


def _rollout(
    job: Job, model: Decoder, mesh: Mesh, dialogues: Dialogues, state: Mapping[str, Arrays], name: str
) -> Phase:
    """As `Engine` runs it: weights and caches of its own for each side, calls of all rows at the longest capacity."""
    engine = _Unplaced(model, job.rows, dialogues, job.sampling, mesh)
    rows, steps, length, chunk = job.rows, engine.steps, dialogues.length, CHUNKS[-1]
    resident = state["student's parameters"]
    params = sharded_param_shapes(model, mesh)
    laid_anew = _shardings(params) != _shardings(resident)  # a copy, which is there beside those of the update
    by_rows, kept = row_sharding(mesh), cache_sharding(mesh, engine.layout.axis)
    capacity = engine.cache_lengths[-1]
    cache = _on(kept, jax.eval_shape(partial(empty_cache, model.config, rows, capacity, engine.layout)))
    weights = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(partial(unstack_layers, model), params),
        weight_shardings(model, mesh),
    )
    own: dict[str, Arrays] = {f"{side}'s cache": cache for side, has in dialogues.caches.items() if has}
    # The teacher's cache is made before the student's weights are, but has room for a few tokens until it needs more.
    small = cache_backend(job.model.attention).reads_full_capacity
    empty = [kind for kind in own if small or kind == "student's cache"]
    own |= {f"{side}'s weights": weights for side in ("student", "teacher")[: 1 + dialogues.teacher]}
    numbers = _on(by_rows, jax.ShapeDtypeStruct((rows,), jnp.int32))
    tokens = _on(by_rows, jax.ShapeDtypeStruct((rows, chunk), jnp.int32))
    keys = _on(by_rows, jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows)))
    stop_counts = _on(decode_loop_sharding(mesh), jax.ShapeDtypeStruct((num_decode_loops(mesh),), jnp.int32))
    allowed = _on(replicated(mesh), jax.ShapeDtypeStruct((model.config.vocab_size,), bool))
    waves = -(-dialogues.number // rows)
    given = waves * dialogues.given(chunk)
    sampled = waves * sum(turns * -(-budget // steps) for turns, budget in dialogues.sampled_turns())
    size = (rows, length)
    both = ("student's weights", "student's cache")

    def writes(slots: int, times: int) -> Program:
        new = _on(kept, jax.eval_shape(partial(empty_cache, model.config, rows, slots)))
        return Program(
            f"write {slots} behind {length}",
            ("write", size, slots),
            engine._write,
            (cache, new, None, numbers, numbers),
            ("student's cache",),
            times,
            unrolled=True,
        )

    programs = (
        Program(
            "weights for the engine",
            "weights",
            engine._weights,
            (params,),
            () if laid_anew else ("student's parameters",),
            1 + dialogues.teacher,
            unrolled=True,
            later=("student's weights", *empty),
        ),
        Program(
            f"extend by {chunk} behind {length}",
            ("extend", size, chunk),
            engine._extend,
            (weights, cache, None, tokens, numbers, numbers),
            both,
            given,
            unrolled=True,
        ),
        writes(chunk, given),
        Program(
            f"decode {steps} behind {length}",
            ("decode", size, steps, job.sampling),
            engine._decode,
            (weights, cache, None, numbers, numbers, numbers, keys, stop_counts, allowed),
            both,
            sampled,
            steps,
            unrolled=True,
        ),
        writes(steps, sampled),
    )
    return Phase(name, {**state, **own}, programs, dialogues.number)


def _train_state(update: Update, trainable: Arrays, mesh: Mesh) -> TrainState:
    """As `init_state` makes it: moments lie as their parameters do, counters on every device."""
    whole = replicated(mesh)
    shapes = jax.eval_shape(update.optimizer.init, trainable)
    opt_state = optax.tree.map_params(
        update.optimizer,
        lambda leaf, parameter: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=parameter.sharding),
        shapes,
        trainable,
        transform_non_params=lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
    )
    return TrainState(jax.ShapeDtypeStruct((), jnp.int32, sharding=whole), trainable, opt_state)


def _update(
    model: Decoder, mesh: Mesh, update: Update, state: Mapping[str, Arrays], train_state: TrainState, params: Arrays
) -> Phase:
    update = dataclasses.replace(update, rows=padded_row_count(mesh, update.rows))  # as the stages do
    frozen, trainable = split_trainable(params)
    reference = params if update.policy_loss is not None and update.policy_loss.kl_coef > 0 else None
    learner = Learner(model, update.optimizer, update.policy_loss, reference, mesh)
    learner._make(params, train_state)
    loss = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(mesh))
    gradients = trainable
    part = jax.tree.map(partial(_laid_out, mesh), _micro_batch(update))
    own = ("student's parameters", "gradients")
    return Phase(
        f"{update.name}: update",
        {**state, "gradients": gradients},
        (
            Program(
                f"gradients of {update.rows} x {update.length}",
                ("gradients", update.rows, update.length, update.policy_loss),
                learner._gradients,
                ((gradients, loss), train_state.params, frozen, reference, part),
                (*own, "frozen parameters") if reference is not None else own,
                update.micro_batches,
            ),
            Program(
                "optimiser's step",
                ("step", id(update.optimizer)),
                learner._apply,
                (train_state, gradients, loss),
                (*own, "optimiser"),
                update.steps,
            ),
        ),
    )


def _micro_batch(update: Update) -> Any:
    """A full micro-batch, made by the learner's own function."""
    rows, length = update.rows, update.length
    ones = np.ones((rows, length), np.float32)
    lengths = np.full(rows, length, np.int32)
    return micro_batches(
        np.zeros((rows, length), np.int32), lengths, ones, ones, np.ones(rows, np.float32), rows, [length]
    )[0]


def _laid_out(mesh: Mesh, leaf: np.ndarray) -> jax.ShapeDtypeStruct:
    """As `shard_rows` places it."""
    shape = padded_row_count(mesh, leaf.shape[0]), *leaf.shape[1:]
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=row_sharding(mesh))


def shard_bytes(tree: Arrays) -> float:
    """Bytes of a tree's arrays on one device."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape)
        dtype = jnp.uint32 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype
        total += int(np.prod(shape)) * jnp.dtype(dtype).itemsize
    return float(total)
