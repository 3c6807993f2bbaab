"""What each phase of a run needs of a device's memory: arrays that stay, and what the executables need beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax.sharding import Mesh

from sml_jax.common.executables import Executable, memory_of
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import HasOwnEngine
from sml_jax.engine.engine import Engine
from sml_jax.engine.layer_params import split_adapters
from sml_jax.learn.train_state import abstract_state
from sml_jax.learn.update import Learner
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import sharded_param_shapes
from sml_jax.models.lora import split_trainable
from sml_jax.run.context import RunContext
from sml_jax.run.memory_liveness import temporary_bytes
from sml_jax.run.stage import Stage
from sml_jax.run.workload import StageWork, UpdateWork
from sml_jax.sharding import make_mesh, num_row_shards, padded_row_count, shard_bytes

# Compilers need up to a tenth more than was counted in all that was measured; what is counted is raised by twice that.
MARGIN = 1.2


@dataclass(frozen=True)
class Need:
    """What a phase needs of each device.

    Attributes:
      name: of the phase, such as "the update of online".
      resident: bytes of the arrays that stay.
      executables: those of the phase that need most, with abstract arguments on the run's mesh.
      of_one_device: the same for the rows of one device alone, on one device.
      exchanged: bytes that several devices need besides, for what they send each other.
    """

    name: str
    resident: float
    executables: tuple[Executable, ...]
    of_one_device: tuple[Executable, ...]
    exchanged: float = 0.0

    @cached_property
    def counted(self) -> float:
        """Bytes by the traces of the executables, which takes no compilation; on one device within `MARGIN`."""
        return self.resident + self.exchanged + max(map(_counted_bytes, self.of_one_device), default=0.0)

    @cached_property
    def bound(self) -> float:
        """Bytes that the phase hardly exceeds: what is counted of temporaries, raised by `MARGIN`."""
        return self.resident + MARGIN * (self.counted - self.resident)

    @cached_property
    def compiled(self) -> float:
        """Bytes by the compiler, which has to compile the executables first; infinity if a device is too small."""
        return self.resident + max(map(_compiled_bytes, self.executables), default=0.0)

    @property
    def bytes(self) -> float:
        """Bytes, by the compiler if it was asked."""
        return self.compiled if "compiled" in vars(self) else self.counted


def _counted_bytes(executable: Executable) -> float:
    """Bytes beside the arguments, by the trace."""
    device = jax.local_devices()[0]
    return temporary_bytes(executable.jitted.trace(*executable.args), wide_bfloat16=device.platform == "cpu")


def _compiled_bytes(executable: Executable) -> float:
    """Bytes beside the arguments, by the compiler."""
    try:
        return memory_of(executable.jitted.lower(*executable.args).compile()).added
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return float("inf")


@dataclass(frozen=True)
class Account:
    """Works out what the phases of a run need under given settings. Nothing is placed on a device.

    Attributes:
      context: of the run. Its engines must have been made, by `check` of stages and evaluation.
      stages: of the run; none for an evaluation alone.
      taught: whether a suite has a teacher that runs the model.
    """

    context: RunContext
    stages: Sequence[Stage] = ()
    taught: bool = False

    def update(self, index: int, remat: bool | str, micro_batch_size: int, beside: float = 0.0) -> Need | None:
        """What the update of a stage needs; None if the stage trains nothing.

        Args:
          index: of the stage.
          remat: of the model.
          micro_batch_size: rows of a micro-batch; 0 for what the stage says.
          beside: bytes of a rollout that is played at the same time on the same devices.
        """
        stage, context = self.stages[index], self.context
        work, key = self.works[index].update, self._keys[index]
        if work is None:
            return None
        # Without a length of its own a row is as long as a context may become.
        length = work.longest_row or (key[0] if key is not None else 0)
        if not length:
            return None
        model = Decoder(dataclasses.replace(context.model.config, remat=remat))
        rows = padded_row_count(context.mesh, micro_batch_size or work.micro_batch_size)
        device_rows = rows // num_row_shards(context.mesh)
        # Each of several devices adds up gradients of its own rows before they are exchanged.
        exchanged = 2 * self._trainable_bytes if context.mesh.size > 1 else 0.0
        return Need(
            f"the update of {stage.name}",
            self._trained_bytes(work, stage) + self._trainable_bytes + beside,  # gradients are as large
            self._gradients(model, context.mesh, work, rows, length),
            self._gradients(model, self._one_device, work, device_rows, length),
            exchanged,
        )

    def rollouts(self, max_concurrent: int) -> list[Need]:
        """What each stage's rollout and the evaluation's longest dialogues need with this number of them at once."""
        context, needs = self.context, []
        for index, key in enumerate(self._keys):
            rollout, update = self.works[index].rollout, self.works[index].update
            if key is None or rollout is None:
                continue
            name, beside = f"the rollout of {self.stages[index].name}", self._beside_rollout(update)
            needs.append(self._rollout(name, key, max_concurrent, beside, context.teacher.runs_model, rollout.rules))
            # The evaluation while it trains plays with the same engine, and perhaps with another teacher.
            if self.taught and not context.teacher.runs_model:
                needs.append(self._rollout("the evaluation", key, max_concurrent, beside, self.taught))
        other_keys = [key for key in context.engines if key not in self._keys]
        if other_keys:
            longest = max(other_keys, key=lambda key: key[0])
            after_training = self._beside_rollout(None)
            needs.append(self._rollout("the evaluation", longest, max_concurrent, after_training, self.taught))
        return needs

    def beside_update(self, index: int, max_concurrent: int) -> float:
        """Bytes that a rollout takes beside the update of a stage, on the same devices; 0 where they take turns."""
        if not getattr(self.stages[index], "staleness", 0) or self._own_devices:
            return 0.0
        name = f"the rollout of {self.stages[index].name}"
        rollout = next((need for need in self.rollouts(max_concurrent) if need.name == name), None)
        if rollout is None:
            return 0.0
        return rollout.bound - self._beside_rollout(self.works[index].update)

    @cached_property
    def works(self) -> list[StageWork]:
        """What each stage asks of the machine."""
        return [stage.workload(self.context.rules) for stage in self.stages]

    @cached_property
    def _keys(self) -> list[tuple | None]:
        """For each stage the sizes of the engine that plays its rollout, as `RunContext.engines` has them."""
        keys: list[tuple | None] = []
        for work in self.works:
            engine = work.rollout and self.context.engine(self.context.task, work.rollout.rules, "train")
            keys.append(next((key for key, value in self.context.engines.items() if value is engine), None))
        return keys

    @cached_property
    def _one_device(self) -> Mesh:
        """A mesh of one device; that of the run if it has no more, so that traces serve the run too."""
        mesh = self.context.mesh
        return mesh if mesh.size == 1 else make_mesh(1, 1, 1, jax.local_devices()[:1])

    @property
    def _own_devices(self) -> bool:
        """Whether rollouts have devices for themselves."""
        rollout_mesh = self.context.rollout_mesh
        return rollout_mesh is not None and not set(rollout_mesh.devices.flat) & set(self.context.mesh.devices.flat)

    @cached_property
    def _params(self) -> Any:
        """The student's parameters on the mesh of updates, as shapes."""
        return sharded_param_shapes(self.context.model, self.context.mesh)

    @cached_property
    def _trainable_bytes(self) -> float:
        """Bytes of the parameters that are trained."""
        return shard_bytes(split_trainable(self._params)[1])

    def _optimiser_bytes(self, work: UpdateWork) -> float:
        """Bytes of the optimiser's state, and of a checkpoint on its way to the disk: a copy of all that is trained."""
        state = abstract_state(self._params, work.optimizer, self.context.mesh)
        return 2 * shard_bytes(state.opt_state) + self._trainable_bytes

    def _beside_rollout(self, update: UpdateWork | None) -> float:
        """Bytes on the devices of rollouts that are there for updates; 0 where rollouts have devices of their own."""
        if self._own_devices:
            return 0.0
        # The initial parameters stay too; with adapters their base is that of the student.
        both = shard_bytes(self._params) + self._trainable_bytes
        return both + (0.0 if update is None else self._optimiser_bytes(update))

    def _trained_bytes(self, work: UpdateWork, stage: Stage) -> float:
        """Bytes that stay while a stage trains, gradients aside."""
        lagging = self._trainable_bytes if getattr(stage, "staleness", 0) else 0.0
        teacher = 0.0 if self._own_devices else self._teacher_bytes(self.context.rules, None)
        both = shard_bytes(self._params) + self._trainable_bytes
        return both + self._optimiser_bytes(work) + lagging + teacher

    def _teacher_bytes(self, rules: DialogueRules, max_concurrent: int | None) -> float:
        """Bytes of a teacher's own model, and of its cache for so many dialogues; None for none."""
        context, teacher = self.context, self.context.teacher
        if not isinstance(teacher, HasOwnEngine):
            return 0.0
        mesh = context.rollout_mesh or context.mesh
        rows = num_row_shards(mesh) if max_concurrent is None else max_concurrent
        engine = teacher.own_engine(rules, context.sampling, rows, mesh)
        cache = 0.0 if max_concurrent is None else shard_bytes(engine.abstract_cache())
        return shard_bytes(engine.abstract_weights()) + cache

    def _rollout(
        self,
        name: str,
        key: tuple,
        max_concurrent: int,
        beside: float,
        taught: bool,
        rules: DialogueRules | None = None,
    ) -> Need:
        """What dialogues need that an engine of the sizes `key` plays.

        Args:
          beside: bytes of all that is there besides.
          taught: whether a teacher runs the model. rules: of a stage's dialogues; None for an evaluation.
        """
        mesh = self.context.rollout_mesh or self.context.mesh
        engine = self._engine(key, max_concurrent, mesh)
        cache, weights = shard_bytes(engine.abstract_cache()), engine.abstract_weights()
        resident = beside + cache + shard_bytes(weights)
        if taught:
            # With adapters both sides read one copy of the base.
            adapters = split_adapters(weights)[1]
            resident += cache + shard_bytes(adapters if jax.tree.leaves(adapters) else weights)
        if rules is not None:
            resident += cache if rules.injection is not None else 0.0
            resident += self._teacher_bytes(rules, max_concurrent)
        # On another mesh the parameters are moved first, and their copy is there until the weights are made of it.
        moved = 0.0 if mesh is self.context.mesh else shard_bytes(sharded_param_shapes(self.context.model, mesh))
        device_rows = max_concurrent // num_row_shards(mesh)
        alone = engine if mesh.size == 1 else self._engine(key, device_rows, self._one_device)
        # Devices that split the weights gather them from each other, at worst all at once.
        splits_weights = mesh.shape["fsdp"] * mesh.shape["tensor"] > 1
        gathered = shard_bytes(alone.abstract_weights()) if splits_weights else 0.0
        return Need(name, resident + moved, _calls(engine), _calls(alone), gathered)

    def _engine(self, key: tuple, max_concurrent: int, mesh: Mesh) -> Engine:
        """An engine of other rows than the run's."""
        other_context = dataclasses.replace(
            self.context, max_concurrent=max_concurrent, mesh=mesh, rollout_mesh=None, engines={}
        )
        return other_context.engine_of(*key)

    def _gradients(
        self, model: Decoder, mesh: Mesh, work: UpdateWork, rows: int, length: int
    ) -> tuple[Executable, ...]:
        """The executables of an update."""
        params = sharded_param_shapes(model, mesh)
        needs_reference = getattr(work.loss, "needs_reference", False)
        learner = Learner(model, work.optimizer, work.loss, params if needs_reference else None, mesh)
        streams = ("likelihood",) if work.loss is None else ("policy",)
        return learner.programs(abstract_state(params, work.optimizer, mesh), rows, length, streams)


def _calls(engine: Engine) -> tuple[Executable, ...]:
    """The calls of an engine that need most memory: those that read the weights and all of the cache."""
    _, extend, write, decode, _, _ = engine.programs()
    return extend, write, decode
