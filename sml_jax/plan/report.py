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
from sml_jax.plan.phases import Phase, PlannedExecutable, phases_of
from sml_jax.plan.scaling import scale_to_depth, shallow_depths
from sml_jax.plan.topology import devices_of
from sml_jax.sharding import make_mesh, shard_bytes

# What can limit an executable's speed.
BINDS = ("arithmetic", "memory", "links")
CompiledCache = dict[Hashable, Compiled]
Log = Callable[[str], None]


@dataclass(frozen=True)
class ExecutablePlan:
    """What one executable of a phase needs.

    Attributes:
      executable: what runs.
      compiled: the memory and work that the compiler found.
      needs: bytes of a device that are in use while it runs, with the other resident arrays; None if the compiler did
        not say.
      limits: for each of `BINDS`, seconds of one call if it took no longer than this work at the chip's peak rate.
        Empty if the chip has no published peaks or the executable could not be compiled.
    """

    executable: PlannedExecutable
    compiled: Compiled
    needs: float | None
    limits: dict[str, float]

    @property
    def seconds(self) -> float | None:
        """The least seconds that one call can take: the largest of `limits`; None if there are none."""
        return max(self.limits.values()) if self.limits else None

    @property
    def binds(self) -> str:
        """The one of `BINDS` that takes longest and so limits the speed; "" if there are no `limits`."""
        return max(self.limits, key=lambda name: self.limits[name]) if self.limits else ""


@dataclass(frozen=True)
class PhasePlan:
    """What one phase of a job needs.

    Attributes:
      name: of the phase, such as "online: rollout".
      dialogues: number of dialogues that are rolled out in it; 0 for an update.
      state: bytes of a device by kind of resident array ("student's cache", ...).
      executables: in the order of the phase, as far as they were compiled.
    """

    name: str
    dialogues: int
    state: dict[str, float]
    executables: tuple[ExecutablePlan, ...]

    @property
    def peak(self) -> ExecutablePlan | None:
        """The executable that needs the most memory; one that could not be compiled counts as the largest.

        None if the phase has no executables.
        """
        return max(
            self.executables, key=lambda planned: (planned.compiled.memory is None, planned.needs or 0.0), default=None
        )

    @property
    def temporaries(self) -> float | None:
        """Bytes of a device that the `peak` executable needs beyond `state`: activations, copies, results, padding.

        None if the compiler did not say.
        """
        return None if self.needs is None else self.needs - sum(self.state.values())

    @property
    def needs(self) -> float | None:
        """The most bytes of a device that are in use at once in the phase; None if the compiler did not say."""
        return self.peak.needs if self.peak else sum(self.state.values())

    @property
    def seconds(self) -> float | None:
        """The least seconds that all calls of the phase can take; None if the time of any executable is not known."""
        total = 0.0
        for planned in self.executables:
            if planned.seconds is None:
                return None
            total += planned.seconds * planned.executable.calls
        return total


@dataclass(frozen=True)
class Plan:
    """What a job needs on a slice, and whether it fits.

    Attributes:
      job: what the recipe runs.
      topology: full name of the slice, such as "v5e:4x8".
      chip: the slice's kind of chip.
      mesh: size of each axis of the updates' mesh, by name.
      limit: bytes of a device that may be in use; None for no limit.
      phases: in order, as far as they were compiled.
      complete: whether all executables were tried; False if compiling stopped at the first that does not fit.
      depths: the two numbers of layers with which unrolled executables were compiled, to be scaled from there to the
        model's depth; None if they were compiled at full depth.
      rollout_mesh: size of each axis of the rollouts' mesh, by name; None if it is the updates' mesh.
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
        """Whether the plan is complete and no phase needs more than `limit`."""
        return self.complete and all(phase_fits(phase, self.limit) for phase in self.phases)

    def dialogues_per_hour(self) -> dict[str, float | None]:
        """The most dialogues an hour, by name of the stage (rollout and update together) or evaluation.

        A value is None if the time of an executable is not known. Stages without a rollout are left out.
        """
        rates: dict[str, float | None] = {}
        # Phases of one stage are named "stage: rollout" and "stage: update".
        for name in dict.fromkeys(phase.name.partition(":")[0] for phase in self.phases):
            stage_phases = [phase for phase in self.phases if phase.name.partition(":")[0] == name]
            dialogues = sum(phase.dialogues for phase in stage_phases)
            times = [phase.seconds for phase in stage_phases if phase.seconds is not None]
            if dialogues:
                all_known = len(times) == len(stage_phases) and sum(times) > 0
                rates[name] = 3600 * dialogues / sum(times) if all_known else None
        return rates


def phase_fits(phase: PhasePlan, limit: float | None) -> bool:
    """Whether all executables of a phase could be compiled and none needs more than `limit` bytes of a device.

    Args:
      limit: None for no limit.
    """
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
    """Compiles everything that a job runs for a slice, and returns what it needs there.

    Args:
      job: what the recipe runs.
      topology: full name of the slice, from `topology.parse_topology`.
      limit: bytes of a device that may be in use; None for the chip's memory.
      cache: what was compiled before, which is not compiled again; new results are added to it.
      log: is called with a line of text before each executable that is compiled.
      stop_early: whether to stop at the first executable that does not fit. The plan is then not `complete`.
      full_depth: whether to compile unrolled executables with all their layers; if not, they are compiled with two
        smaller numbers of layers and scaled (see `scaling`).

    Raises:
      UserError: the slice or a mesh on it cannot be made, or a mesh does not divide the model's dimensions.
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
        executable_plans: list[ExecutablePlan] = []
        for index, executable in enumerate(phase.executables):
            compiled = compiler.compile(phase_index, index, phase, executable)
            executable_plans.append(_plan_executable(executable, compiled, state, chip))
            if stop_early and not phase_fits(PhasePlan(phase.name, 0, state, tuple(executable_plans)), limit):
                complete = False
                break
        planned_phases.append(PhasePlan(phase.name, phase.dialogues, state, tuple(executable_plans)))
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
    """(the mesh of the job's updates, the mesh of its rollouts or None if that is the same), over a slice's devices.

    Args:
      job: gives the sizes of the meshes.
      topology: full name of the slice.

    Raises:
      UserError: the slice or a mesh on it cannot be made.
    """
    devices = devices_of(topology)
    shape = job.rollout_mesh
    mesh = make_mesh(job.data, job.fsdp, job.tensor, devices)
    return mesh, make_mesh(shape.data, shape.fsdp, shape.tensor, devices) if shape else None


class _Compiler:
    """Compiles each executable once. One with many unrolled layers is compiled at two small depths and scaled.

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
            self._compile_once(model, phases[phase_index], phases[phase_index].executables[index])
            for model, phases in self._shallow
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
    """Bytes of a device that a job's resident arrays take in the largest of its phases, without temporaries.

    Nothing is compiled for it, so it is a quick lower bound of what the job needs.

    Args:
      job: what the recipe runs.
      topology: full name of the slice.

    Raises:
      UserError: as `make_plan`.
    """
    return max(sum(map(shard_bytes, phase.state.values())) for phase in phases_of(job, *meshes_of(job, topology)))


def _plan_executable(
    executable: PlannedExecutable, compiled: Compiled, state: dict[str, float], chip: Chip
) -> ExecutablePlan:
    """Adds what is resident beside an executable to the memory that its compiler counted.

    Args:
      state: bytes of a device by kind.
    """
    # Its compiler counts its arguments and results. The rest of the state that exists by then comes on top.
    covered_bytes = sum(state[kind] for kind in executable.covers)
    beside_bytes = sum(size for kind, size in state.items() if kind not in (*executable.covers, *executable.later))
    memory, needs = compiled.memory, compiled.wanted
    if memory is not None:
        # XLA drops an argument that is not used and does not count it, but the array is resident all the same.
        needs = memory.total + max(covered_bytes - memory.arguments, 0.0)
    return ExecutablePlan(
        executable, compiled, None if needs is None else needs + beside_bytes, _limits(compiled, chip)
    )


def _limits(compiled: Compiled, chip: Chip) -> dict[str, float]:
    """Seconds of one call by each of `BINDS`: work divided by the chip's peak rate."""
    if compiled.work is None or chip.flops is None or chip.bandwidth is None or chip.links is None:
        return {}
    # Arithmetic, memory and links can work at the same time, so a call takes at least as long as the slowest of them.
    work = compiled.work
    sent = sum(work.collectives.values())
    return dict(zip(BINDS, (work.flops / chip.flops, work.bytes / chip.bandwidth, sent / chip.links), strict=True))
