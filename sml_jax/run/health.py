"""The health of a run: what it warns of, and when it gives up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sml_jax.common.errors import UserError


@dataclass(frozen=True)
class AlertThresholds:
    """Thresholds on a step's metrics, all chosen by this project. None switches one off.

    A run gives up after `skipped_steps` steps in a row that were skipped because their loss, gradients or parameters
    were not finite, and at the end of a stage of which every step was. The other thresholds only warn, above the value
    or, for `entropy`, below it.

    Attributes:
      skipped_steps: steps in a row.
      logprob_mismatch: mean of |trainer's - sampler's log-probability| over student tokens.
      entropy: mean of -log-probability of the sampled student tokens, in nats: lower means that the policy hardly
        varies any more.
      zero_variance: share of groups whose dialogues all came out the same, which teach nothing.
      truncated: share of turns that spent their whole budget without an end.
      leak: share of teacher turns that gave the answer away (and were sampled again).
      unmarked: share of teacher turns that marked nothing for the student (and were sampled again).
      redaction: share of teacher turns that were replaced by a fixed sentence, since every sample was refused. Where
        all are, feedback is no better than being told to try again.
      dropped: share of dialogues that were dropped, because of their problem or the verifier.
      verifier_errors: dialogues of a step that the verifier had no verdict on.
    """

    skipped_steps: int = 5
    logprob_mismatch: float | None = 0.05
    entropy: float | None = 0.01
    zero_variance: float | None = 0.95
    truncated: float | None = 0.5
    leak: float | None = 0.2
    unmarked: float | None = 0.5
    redaction: float | None = 0.3
    dropped: float | None = 0.05
    verifier_errors: float | None = 0

    def __post_init__(self) -> None:
        if self.skipped_steps < 1:
            raise UserError(f"alerts: skipped_steps is {self.skipped_steps}; it must be at least 1")
        for name, value in vars(self).items():
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"alerts: {name} is {value}; give 0 or more, or None for no warning")

    def warnings(self, metrics: Mapping[str, float]) -> dict[str, str]:
        """The metrics of a step that are beyond their threshold, and whether the step was skipped.

        Args:
          metrics: of one step. A metric that is missing is not checked.

        Returns:
          For each such metric, by name, a sentence with the value, the threshold and what to look at.
        """
        # By metric: its limit, and what a warning says of the cause or the cure.
        limits = {
            "logprob_mismatch": (
                self.logprob_mismatch,
                "sampler and trainer disagree: use a wider dtype, or weights that are not rounded (rollout_weights)",
            ),
            "zero_variance_fraction": (self.zero_variance, "most groups teach nothing: easier or harder problems"),
            "truncated_rate": (self.truncated, "turns do not end: a larger student_tokens or teacher_tokens"),
            "leak_rate": (self.leak, "the teacher gives answers away: look at its prompt"),
            "unmarked_rate": (
                self.unmarked,
                "the teacher does not mark what the student is to read: set Prompts.feedback_tag to '' with a prompt "
                "for the teacher that asks for the reply alone, such as teacher_brief_math or teacher_brief_code",
            ),
            "redaction_rate": (
                self.redaction,
                "the student is told a fixed sentence in place of feedback: see leak_rate and unmarked_rate, and "
                "DialogueRules.guard",
            ),
            "dropped_rate": (self.dropped, "dialogues are dropped: their reasons are in dialogues.jsonl"),
            "verifier_errors": (self.verifier_errors, "the verifier fails: its error is in the log"),
        }
        warnings = {
            name: f"{name} {metrics[name]:.3g} is above {limit:.3g}; {cure}"
            for name, (limit, cure) in limits.items()
            if limit is not None and metrics.get(name, 0) > limit
        }
        # Entropy is the one metric that is bad when it is low.
        if self.entropy is not None and metrics.get("entropy", math.inf) < self.entropy:
            warnings["entropy"] = (
                f"entropy {metrics['entropy']:.3g} is below {self.entropy:.3g}; the student hardly varies: a lower "
                "learning rate, a KL term, or a higher temperature"
            )
        if metrics.get("skipped"):
            warnings["skipped"] = "the step was skipped: its loss, gradients or parameters were not finite"
        return warnings


class HealthMonitor:
    """Follows the metrics of a run: warns, though not at every step, and tells when to give up.

    Args:
      thresholds: on a step's metrics.
      every: after how many steps a warning that still holds is repeated.
    """

    def __init__(self, thresholds: AlertThresholds, every: int = 50):
        self._thresholds, self._every = thresholds, every
        # The step at which each metric was last warned of.
        self._last_warned: dict[str, int] = {}
        self._skipped_in_a_row = 0

    def step(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Takes in the metrics of a step and returns the warnings to print, one line each.

        A metric causes a warning when it first crosses its threshold, and again every so often while it stays beyond
        it.

        Args:
          step: the number of the step.
          metrics: of the step.
        """
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if metrics.get("skipped") else 0
        lines = []
        for name, warning in self._thresholds.warnings(metrics).items():
            # A warning at every step would hide the run's own output.
            if name not in self._last_warned or step - self._last_warned[name] >= self._every:
                self._last_warned[name] = step
                lines.append(f"warning: step {step}: {warning}")
        return lines

    @property
    def skipped_in_a_row(self) -> int:
        """How many of the latest steps were all skipped."""
        return self._skipped_in_a_row

    @property
    def should_give_up(self) -> bool:
        """Whether the last `skipped_steps` steps were all skipped, so that the run should end."""
        return self._skipped_in_a_row >= self._thresholds.skipped_steps

    def reason_to_give_up(self, step: int) -> str:
        """What the user is told when the run ends because of skipped steps, the last of which is `step`."""
        return (
            f"the loss, gradients or parameters of {self._skipped_in_a_row} steps in a row were not finite, up to step "
            f"{step}; the checkpoint of that step holds the last good state. Lower the learning rate or clip harder, "
            "look at the model and the data, or raise AlertThresholds.skipped_steps, in another --workdir"
        )
