"""The nearest setting that fits: guessed from a scaling of what was measured, then compiled, so that it is known to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sml_jax.errors import UserError
from sml_jax.plan.chips import CHIPS, chips_in
from sml_jax.plan.job import Job, changed
from sml_jax.plan.report import Cache, PhasePlan, Plan, Told, make_plan, state_bytes
from sml_jax.sharding import MeshShape


@dataclass(frozen=True)
class Found:
    """A setting that fits: what it changes, as flags, its plan, and how many others were compiled on the way."""

    flags: dict[str, str]
    plan: Plan
    tried: int


@dataclass(frozen=True)
class _Candidate:
    """Settings by name, a slice, and how far they are from what was asked."""

    distance: float
    topology: str
    settings: dict[str, Any]


def nearest(plan: Plan, cache: Cache, tell: Told = lambda _: None, tries: int = 6, whole: bool = False) -> Found | None:
    """Searches for a setting that fits near one that does not.

    Levers, nearest first: layers recomputed in the backward pass, another number of rows in a micro-batch, another
    split of the mesh, half the rows (or a quarter, ...), a larger slice; and what can be had by several of them.
    A setting whose memory, scaled from the plan's, is far above the limit is not compiled.

    Args:
      plan: of the setting asked for. cache: of compiled programs. tell: is told what is compiled.
      tries: settings that are compiled at most. whole: see `make_plan`.

    Returns:
      None if none of those tried fits.
    """
    assert plan.limit is not None
    tried = 0
    correction: dict[str, float] = {}
    for candidate in sorted(_candidates(plan), key=lambda c: (c.distance, chips_in(c.topology))):
        if tried == tries:
            break
        if any(guess > plan.limit for guess in _guesses(plan, candidate, correction).values()):
            continue
        job = changed(plan.job, **candidate.settings)
        tell(f"trying {candidate.topology} {candidate.settings}")
        try:
            other = make_plan(job, candidate.topology, plan.limit, cache, tell, True, whole)
        except UserError:  # the mesh does not divide the model or the rows
            continue
        tried += 1
        if other.fits:
            return Found(flags_of(plan, other), other, tried)
        for phase in other.phases:  # the guess was too low: learn by how much
            guess = _guesses(plan, candidate, {}).get(phase.name)
            if guess and phase.needs and phase.needs > guess:
                correction[phase.name] = max(correction.get(phase.name, 1.0), phase.needs / guess)
    return None


def smallest(
    job: Job, kind: str, limit: float | None, cache: Cache, tell: Told = lambda _: None, whole: bool = False
) -> Plan:
    """The plan of a job on the smallest slice of a kind that it fits, of the largest if it fits none.

    Slices that are too small for what is resident all the time are passed over without compiling.

    Raises:
      UserError: no slice of the kind can be laid out.
    """
    chip = CHIPS[kind]
    room = chip.memory if limit is None else limit
    last: Plan | None = None
    reason: UserError | None = None
    for topology in chip.topologies:
        try:
            if room is not None and state_bytes(job, topology) > room and topology != chip.topologies[-1]:
                continue
            last = make_plan(job, topology, limit, cache, tell, topology != chip.topologies[-1], whole)
        except UserError as error:
            reason = error
            continue
        if last.fits:
            return last
    if last is None:
        assert reason is not None
        raise reason
    return last


def flags_of(plan: Plan, other: Plan) -> dict[str, str]:
    """What another plan's settings change, by the flag that sets each."""
    old, new = plan.job, other.job
    found = {}
    if other.topology != plan.topology:
        found["--topology"] = other.topology
    for name in ("max_concurrent", "data", "fsdp", "tensor"):
        if getattr(new, name) != getattr(old, name):
            found[f"--gin.Experiment.{name}"] = str(getattr(new, name))
    if new.model.remat != old.model.remat:
        found["--gin.DecoderConfig.remat"] = str(new.model.remat)
    if new.rollout_mesh != old.rollout_mesh and new.rollout_mesh is not None:
        found |= {f"--gin.MeshShape.{name}": str(size) for name, size in vars(new.rollout_mesh).items()}
    rows, before = ([update.micro_batch_size for _, update in job.stages if update] for job in (new, old))
    if rows != before:
        found["micro_batch_size of the stage"] = str(rows[0])
    return found


def _candidates(plan: Plan) -> Iterator[_Candidate]:
    job, chips = plan.job, plan.chip.topologies
    at = chips.index(plan.topology) if plan.topology in chips else len(chips)
    slices = [(0.0, plan.topology), *((3.0 * i, name) for i, name in enumerate(chips[at + 1 :], 1))]
    updates = [update for _, update in job.stages if update]
    remats: list[tuple[float, dict[str, Any]]] = [(0.0, {})]
    remats += [(1.0, {"remat": True})] if not job.model.remat and updates else []
    rows = [
        (2.0 * i, {"max_concurrent": job.max_concurrent >> i} if i else {}) for i in range(8) if job.max_concurrent >> i
    ]
    for (far, topology), (cost, remat), (few, fewer) in itertools.product(slices, remats, rows):
        for turn, split in _splits(job, chips_in(topology)):
            shards = _sizes(changed(job, **split), chips_in(topology))[0]
            for share, micro in _micro_rows(updates[0].micro_batch_size if updates else 0, shards):
                settings = {**remat, **fewer, **split, **micro}
                if settings or topology != plan.topology:
                    yield _Candidate(far + cost + few + turn + share, topology, settings)


def _splits(job: Job, chips: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Meshes that split the parameters over all chips, with more or less of it over `tensor`; and the one asked for.

    Where rollouts have a mesh of their own, either is changed alone.
    """
    yield 0.0, {}
    heads = job.model.kv_heads
    for tensor in (1, 2, 4, 8, 16):
        split = {"data": 1, "fsdp": -1, "tensor": tensor}
        if chips % tensor or heads % tensor:
            continue
        if any(getattr(job, k) != v for k, v in split.items()):
            yield 1.5, split
        if job.rollout_mesh not in (None, MeshShape(**split)):
            yield 1.5, {"rollout_mesh": MeshShape(**split)}


def _micro_rows(rows: int, shards: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """As many as they are; a row for each shard; fewer."""
    yield 0.0, {}
    if not rows:
        return
    options = {shards} | {rows >> i for i in range(1, 7) if rows >> i}
    for option in sorted(options - {rows}, reverse=True):
        yield 1.0 + (0.1 if option == shards else 0.0), {"micro_batch_size": option}


def _sizes(job: Job | MeshShape, chips: int) -> tuple[int, int]:
    """(parts that rows are split into, parts that parameters are split into), of a job's updates or of a mesh."""
    sizes = [job.data, job.fsdp, job.tensor]
    known = 1
    for size in sizes:
        known *= max(size, 1)
    data, fsdp, tensor = (max(chips // known, 1) if size == -1 else size for size in sizes)
    return data * fsdp, fsdp * tensor


def _guesses(plan: Plan, candidate: _Candidate, correction: dict[str, float]) -> dict[str, float]:
    """Bytes of a device that each phase may need: the plan's, each kind scaled as it is split."""
    job = changed(plan.job, **candidate.settings)
    old, new = _sizes(plan.job, chips_in(plan.topology)), _sizes(job, chips_in(candidate.topology))
    chips = chips_in(plan.topology) / chips_in(candidate.topology)
    was, becomes = (
        _sizes(one.rollout_mesh or one, chips_in(topology))[1]
        for one, topology in ((plan.job, plan.topology), (job, candidate.topology))
    )
    factor = {"cache": job.max_concurrent / plan.job.max_concurrent * chips, "weights": was / becomes}
    found = {}
    for phase in plan.phases:
        state = sum(size * factor.get(kind.split()[-1], old[1] / new[1]) for kind, size in phase.state.items())
        share = factor["cache"] if phase.dialogues else _rows_each(job, new[0]) / _rows_each(plan.job, old[0])
        if job.model.remat and not plan.job.model.remat and not phase.dialogues:
            share /= 2
        found[phase.name] = (state + (_temporaries(phase) * share)) * correction.get(phase.name, 1.0)
    return found


def _temporaries(phase: PhasePlan) -> float:
    return max(phase.temporaries or 0.0, 0.0)


def _rows_each(job: Job, shards: int) -> int:
    """Rows of a micro-batch that a device works on, once these are filled up until they divide."""
    rows = max((update.micro_batch_size for _, update in job.stages if update), default=1)
    return -(-rows // shards)
