"""The nearest setting that fits: guessed by scaling what was measured, then compiled, so that it is known to fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.models.layer_kinds import layer_kinds
from sml_jax.plan.chips import CHIPS, chips_in
from sml_jax.plan.job import Job, with_settings
from sml_jax.plan.report import CompiledCache, Log, PhasePlan, Plan, make_plan, state_bytes
from sml_jax.sharding import MeshShape

_MAX_HALVINGS = 8  # of the dialogues that run at once, and of a micro-batch's rows


@dataclass(frozen=True)
class FittingSetting:
    """Changed settings under which a job fits.

    Attributes:
      flags: the changed values as text, by the command-line flag that sets each.
      plan: the job's plan with these settings.
      tried: how many candidates were compiled, this one included.
    """

    flags: dict[str, str]
    plan: Plan
    tried: int


@dataclass(frozen=True)
class _Candidate:
    """Changed settings by name (see `job.with_settings`) and a slice, with their distance from what was asked for."""

    distance: float
    topology: str
    settings: dict[str, Any]


def nearest_that_fits(
    plan: Plan, cache: CompiledCache, log: Log = lambda _: None, tries: int = 6, full_depth: bool = False
) -> FittingSetting | None:
    """Searches for settings under which a job fits, close to settings under which it does not.

    It tries these changes, and combinations of them, the smallest change first: recomputing layers in the backward
    pass; fewer rows in a micro-batch; another split of the mesh; half as many dialogues at once, a quarter, ...; a
    larger slice. Candidates whose memory, scaled from the plan's, is above the limit are not compiled.

    Args:
      plan: the plan that does not fit; it must have a `limit`.
      cache: what was compiled before, see `report.make_plan`.
      log: is called with a line of text for each candidate that is tried and each executable that is compiled.
      tries: the most candidates that are compiled.
      full_depth: see `report.make_plan`.

    Returns:
      The first candidate that fits, or None if none does within `tries`.
    """
    assert plan.limit is not None
    tried = 0
    correction: dict[str, float] = {}  # by phase, how far guesses were too low
    for candidate in sorted(_candidates(plan), key=lambda c: (c.distance, chips_in(c.topology))):
        if tried == tries:
            break
        if any(guessed_bytes > plan.limit for guessed_bytes in _guesses(plan, candidate, correction).values()):
            continue
        # The guess fits: compile, stopping at the first executable that does not.
        job = with_settings(plan.job, **candidate.settings)
        log(f"trying {candidate.topology} {candidate.settings}")
        try:
            candidate_plan = make_plan(job, candidate.topology, plan.limit, cache, log, True, full_depth)
        except UserError:  # the mesh does not divide the model or the rows
            continue
        tried += 1
        if candidate_plan.fits:
            return FittingSetting(changed_flags(plan, candidate_plan), candidate_plan, tried)
        # The guess was too low. Guesses for later candidates are raised by as much.
        for phase in candidate_plan.phases:
            guessed_bytes = _guesses(plan, candidate, {}).get(phase.name)
            if guessed_bytes and phase.needs and phase.needs > guessed_bytes:
                correction[phase.name] = max(correction.get(phase.name, 1.0), phase.needs / guessed_bytes)
    return None


def smallest_that_fits(
    job: Job, kind: str, limit: float | None, cache: CompiledCache, log: Log = lambda _: None, full_depth: bool = False
) -> Plan:
    """Plans a job on the smallest slice that it fits.

    A slice that is too small for the resident arrays alone is skipped without compiling.

    Args:
      job: what the recipe runs.
      kind: the kind of chip, such as "v5e"; its slices are tried from the smallest.
      limit, cache, log, full_depth: see `report.make_plan`.

    Returns:
      The plan on that slice. If the job fits none, the plan on the largest slice on which it can be made.

    Raises:
      UserError: the job's mesh cannot be made on any of the slices.
    """
    chip = CHIPS[kind]
    memory = chip.memory if limit is None else limit
    last_plan: Plan | None = None
    last_error: UserError | None = None
    for topology in chip.topologies:
        is_largest = topology == chip.topologies[-1]
        try:
            if memory is not None and state_bytes(job, topology) > memory and not is_largest:
                continue
            last_plan = make_plan(job, topology, limit, cache, log, not is_largest, full_depth)
        except UserError as error:
            last_error = error
            continue
        if last_plan.fits:
            return last_plan
    if last_plan is None:
        assert last_error is not None
        raise last_error
    return last_plan


def changed_flags(plan: Plan, other: Plan) -> dict[str, str]:
    """The settings in which `other` differs from `plan`: the values of `other` as text, by the flag that sets each."""
    old_job, new_job = plan.job, other.job
    flags = {}
    if other.topology != plan.topology:
        flags["--topology"] = other.topology
    for name in ("max_concurrent", "data", "fsdp", "tensor"):
        if getattr(new_job, name) != getattr(old_job, name):
            flags[f"--gin.Experiment.{name}"] = str(getattr(new_job, name))
    if new_job.model.remat != old_job.model.remat:
        flags["--gin.DecoderConfig.remat"] = str(new_job.model.remat)
    if new_job.rollout_mesh != old_job.rollout_mesh and new_job.rollout_mesh is not None:
        flags |= {f"--gin.MeshShape.{name}": str(size) for name, size in vars(new_job.rollout_mesh).items()}
    new_rows, old_rows = ([update.micro_batch_size for _, update in job.stages if update] for job in (new_job, old_job))
    if new_rows != old_rows:
        flags["micro_batch_size of the stage"] = str(new_rows[0])
    return flags


def _candidates(plan: Plan) -> Iterator[_Candidate]:
    """All combinations of changes, each with the sum of their distances."""
    job, topologies = plan.job, plan.chip.topologies
    position = topologies.index(plan.topology) if plan.topology in topologies else len(topologies)
    # Every change has a distance that says how unwelcome it is: a larger slice most, fewer rows at once less.
    slices = [(0.0, plan.topology), *((3.0 * i, name) for i, name in enumerate(topologies[position + 1 :], 1))]
    updates = [update for _, update in job.stages if update]
    asked_micro_batch_size = updates[0].micro_batch_size if updates else 0
    remats: list[tuple[float, dict[str, Any]]] = [(0.0, {})]
    remats += [(1.0, {"remat": True})] if _keeps_all(job) and updates else []
    concurrencies = [
        (2.0 * i, {"max_concurrent": job.max_concurrent >> i} if i else {})
        for i in range(_MAX_HALVINGS)
        if job.max_concurrent >> i
    ]
    for (slice_distance, topology), (remat_distance, remat_setting), (rows_distance, rows_setting) in itertools.product(
        slices, remats, concurrencies
    ):
        chips = chips_in(topology)
        for mesh_distance, mesh_setting in _meshes(job, chips):
            row_shards, _ = _shard_counts(with_settings(job, **mesh_setting), chips)
            for micro_distance, micro_setting in _micro_batch_sizes(asked_micro_batch_size, row_shards):
                settings = {**remat_setting, **rows_setting, **mesh_setting, **micro_setting}
                distance = slice_distance + remat_distance + rows_distance + mesh_distance + micro_distance
                if settings or topology != plan.topology:
                    yield _Candidate(distance, topology, settings)


def _keeps_all(job: Job) -> bool:
    """Whether the backward pass computes nothing again; "auto" is planned as that."""
    return job.model.remat in (False, "none", "auto")


def _meshes(job: Job, chips: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """The mesh asked for, and meshes that split the parameters over all chips, with more or less of it over `tensor`.

    Where rollouts have a mesh of their own, the two meshes are changed one at a time.
    """
    yield 0.0, {}
    # A single key-value head lies whole on every device; several must divide over `tensor`, as query heads do.
    head_counts = {job.model.heads} | {kind.kv_heads for kind in layer_kinds(job.model) if kind.kv_heads > 1}
    for tensor in (1, 2, 4, 8, 16):
        mesh = {"data": 1, "fsdp": -1, "tensor": tensor}
        if chips % tensor or any(heads % tensor for heads in head_counts):
            continue
        if any(getattr(job, axis) != size for axis, size in mesh.items()):
            yield 1.5, mesh
        if job.rollout_mesh not in (None, MeshShape(**mesh)):
            yield 1.5, {"rollout_mesh": MeshShape(**mesh)}


def _micro_batch_sizes(size: int, row_shards: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """The micro-batch size asked for, then others, largest first: its halvings, and one row for each shard."""
    yield 0.0, {}
    if not size:
        return
    options = {row_shards} | {size >> i for i in range(1, _MAX_HALVINGS - 1) if size >> i}
    for option in sorted(options - {size}, reverse=True):
        yield 1.0 + (0.1 if option == row_shards else 0.0), {"micro_batch_size": option}


def _shard_counts(mesh: Job | MeshShape, chips: int) -> tuple[int, int]:
    """How many parts rows are split into, and parameters, by a job's mesh for updates or by a mesh's shape."""
    sizes = [mesh.data, mesh.fsdp, mesh.tensor]
    known_product = 1
    for size in sizes:
        known_product *= max(size, 1)
    data, fsdp, tensor = (max(chips // known_product, 1) if size == -1 else size for size in sizes)
    return data * fsdp, fsdp * tensor


def _guesses(plan: Plan, candidate: _Candidate, correction: dict[str, float]) -> dict[str, float]:
    """Bytes of a device that each phase may need under a candidate: the plan's, each kind scaled by how it is split."""
    job = with_settings(plan.job, **candidate.settings)
    old_chips, new_chips = chips_in(plan.topology), chips_in(candidate.topology)
    old_row_shards, old_param_shards = _shard_counts(plan.job, old_chips)
    new_row_shards, new_param_shards = _shard_counts(job, new_chips)
    # The engine's weights are split by the rollouts' mesh.
    _, old_weight_shards = _shard_counts(plan.job.rollout_mesh or plan.job, old_chips)
    _, new_weight_shards = _shard_counts(job.rollout_mesh or job, new_chips)
    cache_factor = job.max_concurrent / plan.job.max_concurrent * (old_chips / new_chips)
    # By the last word of a kind ("student's cache"); everything else is split as the parameters are.
    factors = {"cache": cache_factor, "weights": old_weight_shards / new_weight_shards}
    guessed_bytes = {}
    for phase in plan.phases:
        state = sum(
            size * factors.get(kind.split()[-1], old_param_shards / new_param_shards)
            for kind, size in phase.state.items()
        )
        # Temporaries of a rollout grow with the rows of the cache; those of an update with the rows of a micro-batch.
        if phase.dialogues:
            factor = cache_factor
        else:
            factor = _rows_per_shard(job, new_row_shards) / _rows_per_shard(plan.job, old_row_shards)
            # A first guess of what recomputing layers saves; the correction learns how wrong it is.
            if _keeps_all(plan.job) and not _keeps_all(job):
                factor /= 2
        guessed_bytes[phase.name] = (state + _temporaries(phase) * factor) * correction.get(phase.name, 1.0)
    return guessed_bytes


def _temporaries(phase: PhasePlan) -> float:
    """Bytes of a phase's temporaries; 0 if its compiler did not say."""
    return max(phase.temporaries or 0.0, 0.0)


def _rows_per_shard(job: Job, row_shards: int) -> int:
    """Rows of a micro-batch that a device works on, after padding to a multiple of the shards."""
    rows = max((update.micro_batch_size for _, update in job.stages if update), default=1)
    return -(-rows // row_shards)
