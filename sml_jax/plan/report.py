"""A plan: what is resident while each program runs, how long it takes at best, and whether it all fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from jax.sharding import Mesh

from sml_jax.models.config import DecoderConfig
from sml_jax.plan.chips import CHIPS, Chip
from sml_jax.plan.compiling import Compiled, compile_executable
from sml_jax.plan.job import Job
from sml_jax.plan.phases import Phase, PlannedExecutable, phases, shard_bytes
from sml_jax.plan.scaling import few_layers, scaled
from sml_jax.plan.topology import devices_of
from sml_jax.sharding import make_mesh

BINDS = ("arithmetic", "memory", "links")
Cache = dict[Hashable, Compiled]  # programs compiled so far
Told = Callable[[str], None]


@dataclass(frozen=True)
class ExecutablePlan:
    """A program in its phase.

    Attributes:
      needs: bytes of a device while it runs, all that is alive counted; None where the compiler did not say.
      limits: seconds of one call that each of `BINDS` takes at its peak; empty where there is no peak or no executable.
    """

    executable: PlannedExecutable
    compiled: Compiled
    needs: float | None
    limits: dict[str, float]

    @property
    def seconds(self) -> float | None:
        """Of one call, at best."""
        return max(self.limits.values()) if self.limits else None

    @property
    def binds(self) -> str:
        """What its time is spent on, "" where that is not known."""
        return max(self.limits, key=lambda name: self.limits[name]) if self.limits else ""


@dataclass(frozen=True)
class PhasePlan:
    """A phase: bytes of its state by kind, and its programs."""

    name: str
    dialogues: int
    state: dict[str, float]
    executables: tuple[ExecutablePlan, ...]

    @property
    def peak(self) -> ExecutablePlan | None:
        """The program during which most is resident; one that could not be compiled before all others."""
        return max(self.executables, key=lambda k: (k.compiled.memory is None, k.needs or 0.0), default=None)

    @property
    def temporaries(self) -> float | None:
        """What the peak program needs beyond the state: activations, copies, results, padding."""
        return None if self.needs is None else self.needs - sum(self.state.values())

    @property
    def needs(self) -> float | None:
        return self.peak.needs if self.peak else sum(self.state.values())

    @property
    def seconds(self) -> float | None:
        """Of one batch, at best."""
        times = [None if k.seconds is None else k.seconds * k.executable.calls for k in self.executables]
        known = [time for time in times if time is not None]
        return sum(known) if len(known) == len(times) else None


@dataclass(frozen=True)
class Plan:
    """A job on a slice.

    Attributes:
      limit: bytes of a device that programs may use, None for no limit.
      complete: every program was compiled; a plan that stopped early at what does not fit is not.
      depths: numbers of layers that programs with unrolled layers were compiled with, None for all.
      rollout_mesh: that of rollouts and evaluation, if another.
    """

    job: Job
    topology: str
    chip: Chip
    mesh: dict[str, int]
    limit: float | None
    phases: tuple[PhasePlan, ...]
    complete: bool
    depths: tuple[int, int] | None
    rollout_mesh: dict[str, int] | None = None

    @property
    def fits(self) -> bool:
        return self.complete and all(fits(phase, self.limit) for phase in self.phases)

    def dialogues_per_hour(self) -> dict[str, float | None]:
        """By stage, rollout and update taken together, and evaluation; None where a time is not known."""
        found: dict[str, float | None] = {}
        for name in dict.fromkeys(phase.name.partition(":")[0] for phase in self.phases):
            own = [phase for phase in self.phases if phase.name.partition(":")[0] == name]
            number = sum(phase.dialogues for phase in own)
            times = [phase.seconds for phase in own if phase.seconds is not None]
            if number:
                whole = len(times) == len(own) and sum(times) > 0
                found[name] = 3600 * number / sum(times) if whole else None
        return found


def fits(phase: PhasePlan, limit: float | None) -> bool:
    """Whether all programs of a phase were compiled and no more is resident than there is room for."""
    if any(one.compiled.memory is None for one in phase.executables):
        return False
    return limit is None or (phase.needs or 0.0) <= limit


def make_plan(
    job: Job,
    topology: str,
    limit: float | None = None,
    cache: Cache | None = None,
    tell: Told = lambda _: None,
    stop_early: bool = False,
    whole: bool = False,
) -> Plan:
    """Compiles a job for a slice.

    Args:
      topology: see `topology.parse_topology`; a whole name.
      limit: bytes of a device's memory; None for the chip's own.
      cache: programs compiled before, and where new ones go.
      tell: is told what is being compiled.
      stop_early: stop at the first program that does not fit.
      whole: compile programs with unrolled layers at their full depth; else they are scaled, see `scaling`.

    Raises:
      UserError: the slice or a mesh on it cannot be made, or the model's dimensions do not divide over it.
    """
    chip = CHIPS[topology.partition(":")[0]]
    limit = chip.memory if limit is None else limit
    cache = {} if cache is None else cache
    meshes = meshes_of(job, topology)
    compiler = _Compiler(job, meshes, topology, cache, tell, whole)
    planned: list[PhasePlan] = []
    complete = True
    for number, phase in enumerate(phases(job, *meshes)):
        executables: list[ExecutablePlan] = []
        state = {kind: shard_bytes(tree) for kind, tree in phase.state.items()}
        for index, executable in enumerate(phase.executables):
            executables.append(_plan_executable(executable, compiler(number, index, phase, executable), state, chip))
            if stop_early and not fits(PhasePlan(phase.name, 0, state, tuple(executables)), limit):
                complete = False
                break
        planned.append(PhasePlan(phase.name, phase.dialogues, state, tuple(executables)))
        if not complete:
            break
    mesh, rolls = meshes
    rollouts = dict(rolls.shape) if rolls else None
    return Plan(job, topology, chip, dict(mesh.shape), limit, tuple(planned), complete, compiler.depths, rollouts)


def meshes_of(job: Job, topology: str) -> tuple[Mesh, Mesh | None]:
    """The mesh of the job's updates and, if it is another, that of its rollouts.

    Raises:
      UserError: the slice or a mesh on it cannot be made.
    """
    devices = devices_of(topology)
    shape = job.rollout_mesh
    mesh = make_mesh(job.data, job.fsdp, job.tensor, devices)
    return mesh, make_mesh(shape.data, shape.fsdp, shape.tensor, devices) if shape else None


class _Compiler:
    """Compiles each program once; one with many layers in a row at two small depths, from which it is scaled."""

    def __init__(
        self, job: Job, meshes: tuple[Mesh, Mesh | None], topology: str, cache: Cache, tell: Told, whole: bool
    ):
        self._job, self._meshes, self._topology, self._cache, self._tell = job, meshes, topology, cache, tell
        self.depths = None if whole else few_layers(job.model)
        self._shallow: list[tuple[DecoderConfig, list[Phase]]] = []

    def __call__(self, number: int, index: int, phase: Phase, executable: PlannedExecutable) -> Compiled:
        if self.depths is None or not executable.unrolled:
            return self._compiled(self._job.model, phase, executable)
        if not self._shallow:
            for depth in self.depths:
                model = dataclasses.replace(self._job.model, layers=depth)
                self._shallow.append((model, phases(dataclasses.replace(self._job, model=model), *self._meshes)))
        two = [self._compiled(model, found[number], found[number].executables[index]) for model, found in self._shallow]
        return scaled(two[0], two[1], *self.depths, self._job.model.layers)

    def _compiled(self, model: DecoderConfig, phase: Phase, executable: PlannedExecutable) -> Compiled:
        shapes = tuple(tuple(mesh.shape.items()) for mesh in self._meshes if mesh)
        key = (self._topology, shapes, model, executable.key)
        if key not in self._cache:
            self._tell(f"{self._topology}: {phase.name}: {executable.name}, {model.layers} layers")
            self._cache[key] = compile_executable(executable)
        return self._cache[key]


def state_bytes(job: Job, topology: str) -> float:
    """The most that is resident in any phase, programs' own needs aside: nothing is compiled."""
    return max(sum(map(shard_bytes, phase.state.values())) for phase in phases(job, *meshes_of(job, topology)))


def _plan_executable(
    executable: PlannedExecutable, compiled: Compiled, state: dict[str, float], chip: Chip
) -> ExecutablePlan:
    covered = sum(state[kind] for kind in executable.covers)
    alive = sum(size for kind, size in state.items() if kind not in (*executable.covers, *executable.later))
    memory, needs = compiled.memory, compiled.wanted
    if memory is not None:
        # An argument that the program does not use is dropped from it, and is there all the same.
        needs = memory.total + max(covered - memory.arguments, 0.0)
    return ExecutablePlan(executable, compiled, None if needs is None else needs + alive, _limits(compiled, chip))


def _limits(compiled: Compiled, chip: Chip) -> dict[str, float]:
    if compiled.work is None or chip.flops is None or chip.bandwidth is None or chip.links is None:
        return {}
    work = compiled.work
    sent = sum(work.collectives.values())
    return dict(zip(BINDS, (work.flops / chip.flops, work.bytes / chip.bandwidth, sent / chip.links), strict=True))
