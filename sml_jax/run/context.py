"""What every stage works with and none changes: the model, the task, the mesh, and compiled engines."""

from __future__ import annotations

from dataclasses import dataclass, field

from jax.sharding import Mesh

from sml_jax.dialogue.context_budget import TurnCosts, context_lengths
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import TeacherSpec
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.dialogue.teachers import Feedback
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.models.decoder import Decoder
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.tasks.problems.types import Task


@dataclass(frozen=True)
class RunContext:
    """What stays the same over the whole run. What changes is in `RunState`.

    Attributes:
      bookkeeper: takes reports of steps; writes logs and checkpoints.
      mesh: the devices, as training lays arrays out over them.
      rollout_mesh: the same devices as rollouts lay arrays out over them; None for the same mesh.
      model: shape and settings of computation of the student and of the frozen teacher.
      framing: writes contexts as tokens.
      task, rules: of the training dialogues.
      initial: parameters of the initial student, which are the frozen teacher's too.
      seed: of everything random.
      max_concurrent: the largest number of dialogues that run at the same time.
      sampling: temperature, top-k and top-p of both sides.
      teacher: who answers the student in training; see `sml_jax.dialogue.teachers`.
      store: what is kept for teachers between rollouts; stages hand it to `play`.
      engines: the engines made so far, by their sizes and sampling; `engine` and `engine_of` fill it.
      lengths: of dialogues' contexts, by split and rules, with the task and the framing; `engine` fills it.
    """

    bookkeeper: Bookkeeper
    mesh: Mesh
    model: Decoder
    framing: Framing
    task: Task
    rules: DialogueRules
    initial: dict
    seed: int
    max_concurrent: int
    rollout_mesh: Mesh | None = None
    sampling: Sampling = Sampling()
    teacher: TeacherSpec = Feedback()
    store: TeacherStore = field(default_factory=TeacherStore)
    engines: dict = field(default_factory=dict)
    lengths: dict = field(default_factory=dict)

    def engine(self, task: Task, rules: DialogueRules, split: str, framing: Framing | None = None) -> Engine:
        """An engine whose contexts hold the longest dialogue under these rules. Equal sizes share one engine.

        Args:
          task, split: whose problems the dialogues are about.
          rules: of the dialogues.
          framing: writes the dialogues' contexts; None for the training dialogues' framing. It must have the same
            tokenizer and family as that.

        Raises:
          UserError: the dialogues do not fit the model, or no problem can be written as tokens.
        """
        # Room for the longest problem's dialogue, every turn at its limit.
        shortest, length = self._lengths(task, rules, split, framing)
        max_rewind = TurnCosts.under(framing or self.framing, rules).max_rewind
        max_new_tokens = max(rules.student_tokens, rules.teacher_tokens)
        return self.engine_of(length, max_new_tokens, self.sampling, max_rewind, shortest)

    def _lengths(self, task: Task, rules: DialogueRules, split: str, framing: Framing | None) -> tuple[int, int]:
        """See `context_lengths`. The problems are not written as tokens each time, which may take seconds."""
        own_framing = framing or self.framing
        known_task, known_framing, lengths = self.lengths.get((split, rules), (None, None, (0, 0)))
        # Another task, or another way of writing, is told from the one before by its object.
        if known_task is not task or known_framing is not own_framing:
            lengths = context_lengths(own_framing, task, list(task.problems(split)), rules)
            self.lengths[split, rules] = task, own_framing, lengths
        return lengths

    def compiled_engine(self, task: Task, rules: DialogueRules, split: str, framing: Framing) -> Engine:
        """An engine for these dialogues, as `engine` makes one, or the smallest that is there already with room enough.

        It saves the compilation of a second engine where dialogues are shorter than those of the first.
        """
        shortest, length = context_lengths(framing, task, list(task.problems(split)), rules)
        max_new_tokens = max(rules.student_tokens, rules.teacher_tokens)
        max_rewind = TurnCosts.under(framing, rules).max_rewind
        wide_enough = [
            engine
            for (_, *sizes), engine in self.engines.items()
            if engine.max_length >= length and sizes == [max_new_tokens, self.sampling, max_rewind]
        ]
        if not wide_enough:
            return self.engine_of(length, max_new_tokens, self.sampling, max_rewind, shortest)
        smallest = min(wide_enough, key=lambda engine: engine.max_length)
        smallest.shortest_context = min(smallest.shortest_context, shortest)
        return smallest

    def engine_of(
        self, length: int, max_new_tokens: int, sampling: Sampling, max_rewind: int = 0, shortest: int = 0
    ) -> Engine:
        """An engine of given sizes. Equal sizes and sampling share one engine.

        Args:
          length: tokens of a context. max_new_tokens: the largest number of tokens of a turn.
          sampling: temperature, top-k and top-p.
          max_rewind: the longest rewind, in tokens; see `Engine`.
          shortest: the fewest tokens that open a context, 0 where that is not known; see `Engine.shortest_context`.
        """
        # Suites of like sizes share what is compiled.
        key = (length, max_new_tokens, sampling, max_rewind)
        if key not in self.engines:
            self.engines[key] = Engine(
                self.model,
                max_concurrent=self.max_concurrent,
                max_length=length,
                max_new_tokens=max_new_tokens,
                stop_ids=self.framing.stop_ids,
                suppressed_ids=self.framing.suppressed_ids(),
                sampling=sampling,
                max_rewind=max_rewind,
                mesh=self.rollout_mesh or self.mesh,
            )
            self.engines[key].shortest_context = shortest
        # An engine that several kinds of dialogues share has to be ready for the shortest of them.
        engine: Engine = self.engines[key]
        engine.shortest_context = min(engine.shortest_context, shortest)
        return engine
