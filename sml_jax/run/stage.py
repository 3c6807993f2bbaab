"""What a stage of a run is: the protocol that the run, its bookkeeper and `sml-jax plan` rely on."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.run.context import RunContext
from sml_jax.run.score import StepScore
from sml_jax.run.state import RunState
from sml_jax.run.workload import StageWork


@runtime_checkable
class Stage(Protocol):
    """One stage of a run: it takes the run's state and hands on a new one.

    Attributes:
      name: of the stage, in logs and names of files.
      score: the metric by which its steps are scored. Every step that the stage reports must have it.
    """

    @property
    def name(self) -> str: ...

    @property
    def score(self) -> StepScore: ...

    def check(self, context: RunContext) -> None:
        """Raises a UserError for what cannot work, before any work begins."""
        ...

    def workload(self, rules: DialogueRules) -> StageWork:
        """What the stage asks of the machine, for `sml-jax plan`.

        Args:
          rules: of the run's training dialogues.
        """
        ...

    def run(self, context: RunContext, state: RunState) -> RunState:
        """Trains step by step.

        A stage begins with `context.bookkeeper.begin`, reports each step to `context.bookkeeper.step_done`, which
        counts it, and goes on from `state.position.step`: a run that was stopped comes back with steps done.

        Args:
          context: what stays the same over the whole run.
          state: what the stage before left, or what was restored from a checkpoint of this stage.

        Returns:
          The state after the last step.
        """
        ...


# By member of the protocol: whether it is a method.
_MEMBERS = {"name": False, "score": False, "check": True, "workload": True, "run": True}


def check_stage(stage: Any) -> None:
    """Raises a UserError that names what is missing unless `stage` has all that the protocol `Stage` asks for."""
    # A protocol's own isinstance would say that something is missing, and not what.
    missing = [
        f"{member}()" if is_method else member
        for member, is_method in _MEMBERS.items()
        if not hasattr(stage, member) or (is_method and not callable(getattr(stage, member)))
    ]
    if missing:
        raise UserError(
            f"experiment: the stage {type(stage).__name__} has no {', no '.join(missing)}: a stage has all members of "
            "sml_jax.run.stage.Stage"
        )
    # A score of another kind would be found out after the first step.
    if not isinstance(stage.score, StepScore):
        raise UserError(
            f"experiment: the score of the stage {type(stage).__name__} is {stage.score!r}: give a "
            "sml_jax.run.score.StepScore, which names the metric that its steps are scored by"
        )
