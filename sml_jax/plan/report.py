"""A plan: what is resident while each executable runs, how long it takes at best, and whether it all fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from jax.sharding import Mesh

from sml_jax.models.config import DecoderConfig
from sml_jax.plan.chips import CHIPS, Chip
from sml_jax.plan.compiling import Compiled, compile_executable
from sml_jax.plan.job import Job
from sml_jax.plan.phases import Phase, PlannedExecutable, phases_of, shard_bytes
from sml_jax.plan.scaling import scale_to_depth, shallow_depths
from sml_jax.plan.topology import devices_of
from sml_jax.sharding import make_mesh

# What can limit an executable's speed.
BINDS = ("arithmetic", "memory", "links")
CompiledCache = dict[Hashable, Compiled]
Log = Callable[[str], None]


@dataclass(frozen=True)
class ExecutablePlan:
    """An executable in its phase, compiled.

    Attributes:
      needs: bytes of a device while it runs, with everything else that is resident; None if the compiler did not say.
      limits: seconds that one call takes if only one of `BINDS` mattered, each at its peak rate. Empty if the chip has
        no published peaks or the executable was not compiled.
    """

    executable: PlannedExecutable
    compiled: Compiled
    needs: float | None
    limits: dict[str, float]

    @property
    def seconds(self) -> float | None:
        """Seconds of one call at best: the slowest of the limits. None if there are none."""
        return max(self.limits.values()) if self.limits else None

    @property
    def binds(self) -> str:
        """Which of `BINDS` is the slowest limit; "" if there are none."""
        return max(self.limits, key=lambda name: self.limits[name]) if self.limits else ""


@dataclass(frozen=True)
class PhasePlan:
    """A phase: bytes of a device by kind of resident state, and its executables."""

    name: str
    dialogues: int
    state: dict[str, float]
    executables: tuple[ExecutablePlan, ...]

    @property
    def peak(self) -> ExecutablePlan | None:
        """The executable that needs the most memory; one that could not be compiled counts as the most of all."""
        return max(
            self.executables, key=lambda planned: (planned.compiled.memory is None, planned.needs or 0.0), default=None
        )

    @property
    def temporaries(self) -> float | None:
        """What the peak executable needs beyond the state: activations, copies, results, padding."""
        return None if self.needs is None else self.needs - sum(self.state.values())

    @property
    def needs(self) -> float | None:
        """The most bytes of a device that the phase needs at once; None if the compiler did not say."""
        return self.peak.needs if self.peak else sum(self.state.values())

    @property
    def seconds(self) -> float | None:
        """Seconds of all calls for one batch of dialogues, at best; None if any executable's time is not known."""
        total = 0.0
        for planned in self.executables:
            if planned.seconds is None:
                return None
            total += planned.seconds * planned.executable.calls
        return total


@dataclass(frozen=True)
class Plan:
    """A job on a slice.

    Attributes:
      mesh: sizes of the updates' mesh by axis. rollout_mesh: those of the rollouts' mesh, None if it is the same.
      limit: bytes of a device that executables may use, None for no limit.
      complete: every executable was compiled; a plan that stopped early at the first one that does not fit is not.
      depths: numbers of layers that unrolled executables were compiled with and scaled from; None if at full depth.
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
        """Whether the plan is complete and every phase fits the limit."""
        return self.complete and all(phase_fits(phase, self.limit) for phase in self.phases)

    def dialogues_per_hour(self) -> dict[str, float | None]:
        """Dialogues an hour at best, by stage (its rollout and update together) and for the evaluation.

        None where a time is not known; phases that handle no dialogues are left out.
        """
        rates: dict[str, float | None] = {}
        # Phases of one stage are named "stage: rollout" and "stage: update".
        for name in dict.fromkeys(phase.name.partition(":")[0] for phase in self.phases):
            of_stage = [phase for phase in self.phases if phase.name.partition(":")[0] == name]
            dialogues = sum(phase.dialogues for phase in of_stage)
            times = [phase.seconds for phase in of_stage if phase.seconds is not None]
            if dialogues:
                all_known = len(times) == len(of_stage) and sum(times) > 0
                rates[name] = 3600 * dialogues / sum(times) if all_known else None
        return rates


def phase_fits(phase: PhasePlan, limit: float | None) -> bool:
    """Whether all executables of a phase were compiled and none needs more than `limit` bytes of a device."""
    if any(planned.compiled.memory is None for planned in phase.executables):
        return False
    return limit is None or (phase.needs or 0.0) <= limit


def make_plan(
    job: Job,
    topology: str,
    limit: float | None = None,
    cache: CompiledCache | None = None,
    log: Log = lambda _: None,
    stop_early: bool = False,
    full_depth: bool = False,
) -> Plan:
    """Compiles a job for a slice.

    Args:
      topology: the full name of a slice, see `topology.parse_topology`.
      limit: bytes of a device's memory; None for the chip's own.
      cache: executables compiled before; new ones are added to it.
      log: called with a line for each executable that is about to be compiled.
      stop_early: stop at the first executable that does not fit.
      full_depth: compile unrolled executables at their full depth, and do not scale them from small ones (see
        `scaling`).

    Raises:
      UserError: the slice or a mesh on it cannot be made, or the model's dimensions do not divide over it.
    """
    # The meshes, over devices that need not exist.
    chip = CHIPS[topology.partition(":")[0]]
    limit = chip.memory if limit is None else limit
    meshes = meshes_of(job, topology)
    compiler = _Compiler(job, meshes, topology, {} if cache is None else cache, log, full_depth)

    # Every executable of every phase, with what is resident beside it.
    planned_phases: list[PhasePlan] = []
    complete = True
    for phase_index, phase in enumerate(phases_of(job, *meshes)):
        state = {kind: shard_bytes(tree) for kind, tree in phase.state.items()}
        planned: list[ExecutablePlan] = []
        for index, executable in enumerate(phase.executables):
            compiled = compiler.compile(phase_index, index, phase, executable)
            planned.append(_plan_executable(executable, compiled, state, chip))
            if stop_early and not phase_fits(PhasePlan(phase.name, 0, state, tuple(planned)), limit):
                complete = False
                break
        planned_phases.append(PhasePlan(phase.name, phase.dialogues, state, tuple(planned)))
        if not complete:
            break
    mesh, rollout_mesh = meshes
    return Plan(
        job,
        topology,
        chip,
        dict(mesh.shape),
        limit,
        tuple(planned_phases),
        complete,
        compiler.depths,
        dict(rollout_mesh.shape) if rollout_mesh else None,
    )


def meshes_of(job: Job, topology: str) -> tuple[Mesh, Mesh | None]:
    """The mesh of the job's updates and that of its rollouts, None if it is the same.

    Raises:
      UserError: the slice or a mesh on it cannot be made.
    """
    devices = devices_of(topology)
    shape = job.rollout_mesh
    mesh = make_mesh(job.data, job.fsdp, job.tensor, devices)
    return mesh, make_mesh(shape.data, shape.fsdp, shape.tensor, devices) if shape else None


class _Compiler:
    """Compiles each executable once; one whose many layers are unrolled at two small depths, from which it is scaled.

    Attributes:
      depths: the two numbers of layers, None if every executable is compiled at full depth.
    """

    def __init__(
        self,
        job: Job,
        meshes: tuple[Mesh, Mesh | None],
        topology: str,
        cache: CompiledCache,
        log: Log,
        full_depth: bool,
    ):
        self._job, self._meshes, self._topology, self._cache, self._log = job, meshes, topology, cache, log
        self.depths = None if full_depth else shallow_depths(job.model)
        self._shallow: list[tuple[DecoderConfig, list[Phase]]] = []  # the model and the job's phases at each depth

    def compile(self, phase_index: int, index: int, phase: Phase, executable: PlannedExecutable) -> Compiled:
        """Compiles the executable number `index` of the job's phase number `phase_index`."""
        if self.depths is None or not executable.unrolled:
            return self._compile_once(self._job.model, phase, executable)
        if not self._shallow:
            # The job's phases at both depths are made once, at the first executable that needs them.
            for depth in self.depths:
                model = dataclasses.replace(self._job.model, layers=depth)
                self._shallow.append((model, phases_of(dataclasses.replace(self._job, model=model), *self._meshes)))
        # The same executable at both depths: a shallower model has the same phases in the same order.
        at_depths = [
            self._compile_once(model, found[phase_index], found[phase_index].executables[index])
            for model, found in self._shallow
        ]
        return scale_to_depth(at_depths[0], at_depths[1], *self.depths, self._job.model.layers)

    def _compile_once(self, model: DecoderConfig, phase: Phase, executable: PlannedExecutable) -> Compiled:
        """Compiles an executable of a model, unless the cache has it."""
        mesh_shapes = tuple(tuple(mesh.shape.items()) for mesh in self._meshes if mesh)
        # Phases share executables (a rollout and the evaluation of one length), and so do the plans of a search.
        key = (self._topology, mesh_shapes, model, executable.key)
        if key not in self._cache:
            self._log(f"{self._topology}: {phase.name}: {executable.name}, {model.layers} layers")
            self._cache[key] = compile_executable(executable)
        return self._cache[key]


def state_bytes(job: Job, topology: str) -> float:
    """The most bytes of a device that are resident in any phase, apart from temporaries; nothing is compiled."""
    return max(sum(map(shard_bytes, phase.state.values())) for phase in phases_of(job, *meshes_of(job, topology)))


def _plan_executable(
    executable: PlannedExecutable, compiled: Compiled, state: dict[str, float], chip: Chip
) -> ExecutablePlan:
    """Adds what is resident beside an executable to the memory that its compiler counted.

    Args:
      state: bytes of a device by kind.
    """
    # Its compiler counts its arguments and results. The rest of the state that exists by then comes on top.
    covered = sum(state[kind] for kind in executable.covers)
    beside = sum(size for kind, size in state.items() if kind not in (*executable.covers, *executable.later))
    memory, needs = compiled.memory, compiled.wanted
    if memory is not None:
        # XLA drops an argument that is not used and does not count it, but the array is resident all the same.
        needs = memory.total + max(covered - memory.arguments, 0.0)
    return ExecutablePlan(executable, compiled, None if needs is None else needs + beside, _limits(compiled, chip))


def _limits(compiled: Compiled, chip: Chip) -> dict[str, float]:
    """Seconds of one call by each of `BINDS`: work divided by the chip's peak rate."""
    if compiled.work is None or chip.flops is None or chip.bandwidth is None or chip.links is None:
        return {}
    # Arithmetic, memory and links can work at the same time, so a call takes at least as long as the slowest of them.
    work = compiled.work
    sent = sum(work.collectives.values())
    return dict(zip(BINDS, (work.flops / chip.flops, work.bytes / chip.bandwidth, sent / chip.links), strict=True))
