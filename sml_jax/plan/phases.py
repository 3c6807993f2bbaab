"""The phases of a job (rollout, update, evaluation): what is resident in each, and which executables it runs.

The engine and the learner hand over what they compile (`Engine.programs`, `Learner.programs`). This module knows only
which of a phase's resident arrays their arguments are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from sml_jax.common.executables import Executable
from sml_jax.engine.engine import Engine
from sml_jax.engine.layer_params import split_adapters
from sml_jax.learn.train_state import TrainState, abstract_state
from sml_jax.learn.update import Learner
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import sharded_param_shapes
from sml_jax.models.lora import split_trainable
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.plan.job import Dialogues, Job, Update
from sml_jax.sharding import padded_row_count

# Which tokens end a turn or are suppressed costs nothing, so any ids do. That some are suppressed is usual.
_STOP_IDS, _SUPPRESSED_IDS = (0, 1), (2,)

Arrays = Any  # a tree of jax.ShapeDtypeStruct, each with a sharding


@dataclass(frozen=True)
class PlannedExecutable(Executable):
    """An executable that a phase runs, and which of the phase's resident arrays it takes or makes.

    Attributes:
      covers: kinds of `Phase.state` that are among its arguments.
      later: kinds of `Phase.state` that do not exist yet when it starts, since it or a later executable makes them.
    """

    covers: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A part of a job during which the same arrays stay in the devices' memory, such as a stage's rollout.

    Attributes:
      name: the stage and the part, such as "online: rollout".
      state: shapes, dtypes and shardings of the arrays that stay, by kind ("student's cache", "optimiser", ...).
      executables: what runs, with abstract arguments; nothing is compiled yet.
      dialogues: number of dialogues that are rolled out in the phase; 0 for an update.
    """

    name: str
    state: Mapping[str, Arrays]
    executables: tuple[PlannedExecutable, ...]
    dialogues: int = 0


def phases_of(job: Job, mesh: Mesh, rollout_mesh: Mesh | None = None) -> list[Phase]:
    """Every phase of a job in order: each stage's rollout and update, then the evaluation.

    Args:
      job: what the recipe runs.
      mesh: the mesh of the updates.
      rollout_mesh: the mesh of rollouts and evaluation, over the same devices; None for the same mesh.

    Raises:
      UserError: a mesh does not divide a dimension of a parameter.
    """
    model = Decoder(job.model)
    params = sharded_param_shapes(model, mesh)
    frozen, trainable = split_trainable(params)
    # The initial parameters stay: they are the frozen teacher's and the KL term's reference. Under adapters the base is
    # shared, so that only the initial adapters are there a second time.
    resident_always = {"student's parameters": params, "frozen parameters": trainable if frozen else params}
    engine_mesh = rollout_mesh or mesh
    # A teacher's own model is loaded for the first rollout and stays; its caches are there in rollouts alone.
    for dialogues, _ in job.stages:
        resident_always |= _own_models(job, dialogues, engine_mesh, "weights")
    phases = []
    for dialogues, update in job.stages:
        state: dict[str, Arrays] = dict(resident_always)
        train_state = abstract_state(params, update.optimizer, mesh) if update else None
        if train_state is not None:
            state["optimiser"] = (train_state.step, train_state.opt_state)
        if dialogues is not None:
            phases.append(_rollout(job, model, engine_mesh, dialogues, state, f"{dialogues.name}: rollout"))
        if update is not None and train_state is not None:
            phases.append(_update(model, mesh, update, state, train_state))
    if job.evaluation is not None:
        phases.append(_rollout(job, model, engine_mesh, job.evaluation, resident_always, job.evaluation.name))
    return phases


def _rollout(
    job: Job, model: Decoder, mesh: Mesh, dialogues: Dialogues, state: Mapping[str, Arrays], name: str
) -> Phase:
    """Dialogues as an engine runs them: each side has weights and a cache, and every call is as large as it can be."""
    engine = Engine(
        model,
        job.max_concurrent,
        dialogues.length,
        dialogues.max_new_tokens,
        _STOP_IDS,
        _SUPPRESSED_IDS,
        job.sampling,
        max_rewind=dialogues.max_rewind,
        mesh=mesh,
    )
    # As many dialogues as there are rows run at once, so that all of them take several waves.
    waves = -(-dialogues.number // job.max_concurrent)
    calls_of_a_wave = sum(turns * -(-tokens // engine.decode_steps) for turns, tokens in dialogues.sampled_turns())
    executables = engine.programs(
        prepare_calls=1 if job.model.lora else 1 + dialogues.teacher,
        extend_calls=waves * dialogues.extend_calls(engine.chunk_sizes[-1]),
        decode_calls=waves * calls_of_a_wave,
        copy_calls=0,  # how much can be copied depends on the problems: the plan takes it that nothing is
    )

    weights, cache = engine.abstract_weights(), engine.abstract_cache()
    resident: dict[str, Arrays] = {
        f"{side}'s cache": cache for side, has_cache in dialogues.caches.items() if has_cache
    }
    # The teacher's cache is allocated before the student's weights are prepared. But it begins short, and has its full
    # size only later, unless the engine has one capacity alone.
    begins_short = cache_backend(job.model.attention).reads_full_capacity
    made_later = [kind for kind in resident if begins_short or kind == "student's cache"]
    resident["student's weights"] = weights
    if dialogues.teacher:
        # With adapters both sides read one copy of the base.
        teachers_own = split_adapters(weights)[1]
        resident["teacher's weights"] = teachers_own if jax.tree.leaves(teachers_own) else weights
    resident |= _own_models(job, dialogues, mesh, "weights") | _own_models(job, dialogues, mesh, "cache")

    # On a mesh of its own the engine first gets a copy of the parameters, which is there beside those of the update.
    same_layout = _shardings(sharded_param_shapes(model, mesh)) == _shardings(state["student's parameters"])
    kinds = {"weights": "student's weights", "cache": "student's cache"}
    kinds |= {"params": "student's parameters"} if same_layout else {}
    later = ("student's weights", *made_later)
    return Phase(name, {**state, **resident}, _planned(executables, kinds, later), dialogues.number)


def _own_models(job: Job, dialogues: Dialogues | None, mesh: Mesh, part: str) -> dict[str, Arrays]:
    """The "weights" or the "cache" of teachers that have a model of their own, by kind as in `Phase.state`."""
    resident = {}
    for name, make_engine in dialogues.own_engines.items() if dialogues else ():
        engine = make_engine(job.max_concurrent, mesh)
        resident[f"{name}'s {part}"] = engine.abstract_weights() if part == "weights" else engine.abstract_cache()
    return resident


def _update(model: Decoder, mesh: Mesh, update: Update, state: Mapping[str, Arrays], train_state: TrainState) -> Phase:
    """Gradients of every micro-batch and the optimiser's steps, as a learner takes them."""
    params = train_state.params
    needs_reference = getattr(update.policy_loss, "needs_reference", False)
    learner = Learner(model, update.optimizer, update.policy_loss, params if needs_reference else None, mesh)
    rows = padded_row_count(mesh, update.micro_batch_size)  # as the stages do
    streams = ("likelihood",) if update.policy_loss is None else ("policy",)
    micro_batches = -(-update.dialogues // rows)
    executables = learner.programs(train_state, rows, update.length, streams, micro_batches, update.steps)
    kinds = {
        "params": "student's parameters",
        "gradients": "gradients",
        "reference": "frozen parameters",
        "opt_state": "optimiser",
    }
    resident = {**state, "gradients": split_trainable(params)[1]}
    return Phase(f"{update.name}: update", resident, _planned(executables, kinds))


def _planned(
    executables: Iterable[Executable], kinds: Mapping[str, str], later: tuple[str, ...] = ()
) -> tuple[PlannedExecutable, ...]:
    """The executables that are called at all, with the resident state that they cover.

    Args:
      kinds: kinds of the resident state by the names that the executables' owner gives its arguments.
      later: kinds that do not exist before what the first executable makes.
    """
    return tuple(
        PlannedExecutable(
            **vars(executable),
            covers=tuple(kinds[name] for name in executable.reads if name in kinds),
            later=later if executable.makes else (),
        )
        for executable in executables
        if executable.calls
    )


def _shardings(tree: Arrays) -> list[Any]:
    """The shardings of a tree in the order of its arrays, to compare layouts."""
    return [leaf.sharding for leaf in jax.tree.leaves(tree)]
