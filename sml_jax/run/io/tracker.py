"""What a tracker is, to which a run hands its metrics besides `metrics.jsonl`, and how a run hands them on.

Trackers are a convenience: one that fails is given up with a warning and never ends a run.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from sml_jax.common.secret import hide_environment_secrets
from sml_jax.run.io.config_change import settings
from sml_jax.run.io.display import printable


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of the run.

    Attributes:
      folder: the run's.
      settings: the values in its `config.gin`, as text, by full name. No key is among them: keys come from the
        environment.
      first_step_to_redo: the step after the checkpoint that the run goes on from, whose points and those of later steps
        may have been logged before; None in a run that begins.
    """

    folder: Path
    settings: Mapping[str, str]
    first_step_to_redo: int | None = None

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.folder.name

    def id(self) -> str:
        """An id that no other run has and that a run which goes on keeps, from the file `tracker.id` in its folder."""
        path = self.folder / "tracker.id"
        if not path.exists():
            path.write_text(f"{secrets.token_hex(8)}\n")
        return path.read_text().strip()


@runtime_checkable
class OpenTracker(Protocol):
    """A tracker at work on one run."""

    def log(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a point to each curve.

        Args:
          step: counted over the whole run. A run that goes on logs the steps since its checkpoint again.
          values: by the curve's name, `STAGE/METRIC`; finite.
        """
        ...

    def close(self) -> None:
        """Hands over what is still held back, and ends."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """What a recipe names in `Experiment.trackers`: a frozen object that opens a tracker for a run."""

    @property
    def name(self) -> str:
        """What warnings call it."""
        ...

    def check(self) -> None:
        """Checks, before any work begins, what can be checked then.

        Raises:
          UserError: something is missing, such as the tracker's package.
        """
        ...

    def open(self, run: TrackedRun) -> OpenTracker:
        """Opens it for a run, at the run's first point. In a run of several processes only the first one does."""
        ...


class TrackerGroup:
    """Hands a run's metrics on to its trackers.

    Args:
      trackers: opened at the first point.
      folder: the run's.
    """

    def __init__(self, trackers: Sequence[Tracker], folder: Path):
        self._trackers, self._folder = trackers, folder
        self._first_step_to_redo: int | None = None
        # None before the first point. What has failed is taken out.
        self._open: list[tuple[Tracker, OpenTracker]] | None = None

    def go_on_from(self, step: int) -> None:
        """Tells that the run goes on after this step, before its next point."""
        self._first_step_to_redo = step + 1

    def log(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a point to each curve in every tracker. Arguments as of `OpenTracker.log`."""
        if self._open is None:
            self._open = self._open_all()
        for tracker, opened in list(self._open):
            try:
                opened.log(step, values)
            except Exception as error:
                _report(tracker, error)
                self._open.remove((tracker, opened))
                # Whatever it still holds is of no use any more.
                with suppress(Exception):
                    opened.close()

    def close(self) -> None:
        """Closes all trackers. A later point opens them again."""
        opened_trackers, self._open = self._open or [], None
        for tracker, opened in opened_trackers:
            try:
                opened.close()
            except Exception as error:
                _report(tracker, error)

    def _open_all(self) -> list[tuple[Tracker, OpenTracker]]:
        """Opens each tracker; those that did not fail."""
        config_path = self._folder / "config.gin"
        config = settings(config_path.read_text()) if config_path.exists() else {}
        run = TrackedRun(self._folder, config, self._first_step_to_redo)
        # Only the first opening hides points of an earlier one.
        self._first_step_to_redo = None
        opened = []
        for tracker in self._trackers:
            try:
                opened.append((tracker, tracker.open(run)))
            except Exception as error:
                _report(tracker, error)
        return opened


def _report(tracker: Tracker, error: Exception) -> None:
    """Prints that a tracker has failed. Its own words may hold a key, which is hidden."""
    reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "") or type(error).__name__
    line = f"warning: {tracker.name}: no more points are logged ({reason}); metrics.jsonl has them all"
    print(printable(hide_environment_secrets(line)), flush=True)
