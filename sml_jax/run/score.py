"""How good the student was at a step, by which a run picks its best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sml_jax.common.errors import UserError


@dataclass(frozen=True)
class StepScore:
    """The metric of a step that says how good the student is, by which a run picks its best checkpoint.

    Attributes:
      metric: its name among the metrics that the stage reports after every step.
      higher_is_better: whether more of it is better.
    """

    metric: str
    higher_is_better: bool = True

    def of(self, metrics: Mapping[str, float], stage_name: str) -> float:
        """The score of a step; higher is better, so the sign is changed if `higher_is_better` is False.

        Args:
          metrics: of the step.
          stage_name: for the error.

        Raises:
          UserError: the metric is not among those that the stage reported.
        """
        # Only a step itself shows what a stage reports.
        if self.metric not in metrics:
            raise UserError(
                f"{stage_name}: the step reported no metric {self.metric!r}, by which the stage says that it is scored "
                f"(StepScore.metric); it reported {', '.join(sorted(metrics)) or 'none'}"
            )
        # Runs compare scores, and the higher one wins.
        value = float(metrics[self.metric])
        return value if self.higher_is_better else -value
