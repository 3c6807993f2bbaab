"""The trackers that recipes name: TensorBoard, Weights & Biases and Trackio."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sml_jax.common.errors import UserError
from sml_jax.run.io.tracker import OpenTracker, TrackedRun


@dataclass(frozen=True)
class TensorBoard:
    """Event files for TensorBoard in the run's folder `tensorboard`."""

    name: ClassVar[str] = "tensorboard"

    def check(self) -> None:
        """Checks nothing: its package is always there."""

    def open(self, run: TrackedRun) -> OpenTracker:
        """Opens a new event file, which hides the points that the run logs again."""
        return _EventFile(run.folder / "tensorboard", run.first_step_to_redo)


class _EventFile:
    """A TensorBoard event file.

    It uses tensorboardX's synchronous writer, since the usual one fails on a full disk in a thread of its own.

    Args:
      folder: of the event file; made if it does not exist.
      purge_step: TensorBoard hides the points of earlier event files from this step on; None hides nothing.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        # Imported here: it takes a while, and a program that only evaluates needs none.
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._events, self._summary = event_pb2, summary
        folder.mkdir(parents=True, exist_ok=True)
        self._writer: Any = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        if purge_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(event_pb2.Event(step=purge_step, session_log=start))

    def log(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a point to each curve."""
        for name, value in values.items():
            self._write(self._events.Event(step=step, summary=self._summary.scalar(name, value)))

    def close(self) -> None:
        """Writes buffered points to the file and closes it."""
        self._writer.close()

    def _write(self, event: Any) -> None:
        """Writes an event with the present time."""
        event.wall_time = time.time()
        self._writer.write_event(event)


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases. The key comes from the environment (`WANDB_API_KEY`) or from `wandb login`.

    Metrics, the settings of `config.gin` and the machine's load are sent; no output, source or command line is.

    Attributes:
      project: the runs of one project are shown together.
      entity: the team or user it belongs to; None for the user's own.
      mode: "online", or "offline" to write to the run's folder `wandb` alone, from where `wandb sync` sends it later;
        None for what the environment variable `WANDB_MODE` says, or else online.
      name: what warnings call it.

    Raises:
      UserError: there is no such mode.
    """

    project: str = "sml-jax"
    entity: str | None = None
    mode: str | None = None
    name: str = "wandb"

    def __post_init__(self) -> None:
        if self.mode not in (None, "online", "offline"):
            raise UserError(f"{self.name}: mode is {self.mode!r}; it takes 'online', 'offline' or None")

    def check(self) -> None:
        """Checks that the package is there.

        Raises:
          UserError: it is not.
        """
        _package("wandb")

    def open(self, run: TrackedRun) -> OpenTracker:
        """Starts the run there, or goes on with it under the same id."""
        wandb = _package("wandb")
        live_run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            name=run.name,
            id=run.id(),
            resume="allow",
            config=dict(run.settings),
            dir=str(run.folder),
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                x_disable_meta=True,
                x_save_requirements=False,
            ),
        )
        # Points that are logged again after a stop would be refused if W&B's own step counted them.
        live_run.define_metric("step")
        live_run.define_metric("*", step_metric="step")
        return _WandbRun(live_run)


class _WandbRun:
    """A run of Weights & Biases.

    Args:
      live_run: what `wandb.init` returned.
    """

    def __init__(self, live_run: Any):
        self._run = live_run

    def log(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a point to each curve."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Waits until everything is sent or, offline, written."""
        self._run.finish()


@dataclass(frozen=True)
class Trackio:
    """Trackio, which writes to a database on this machine; `trackio show` draws it.

    Where it finds a key of Hugging Face it asks there for the user's name, unless HF_HUB_OFFLINE is 1.

    Attributes:
      project: the runs of one project are shown together.
      space: a Hugging Face Space to send points to besides, with the key that Hugging Face's programs find; None for
        none.
      name: what warnings call it.
    """

    project: str = "sml-jax"
    space: str | None = None
    name: str = "trackio"

    def check(self) -> None:
        """Checks that the package is there.

        Raises:
          UserError: it is not.
        """
        _package("trackio")

    def open(self, run: TrackedRun) -> OpenTracker:
        """Starts the run there, or goes on with it under the same name."""
        trackio = _package("trackio")
        live_run = trackio.init(
            project=self.project,
            name=f"{run.name}-{run.id()}",
            space_id=self.space,
            config=dict(run.settings),
            resume="allow",
            embed=False,
        )
        return _TrackioRun(live_run)


class _TrackioRun:
    """A run of Trackio.

    Args:
      live_run: what `trackio.init` returned.
    """

    def __init__(self, live_run: Any):
        self._run = live_run

    def log(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a point to each curve."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Waits until everything is written."""
        self._run.finish()


def _package(name: str) -> Any:
    """Imports a tracker's package.

    Raises:
      UserError: it is not installed; the extra of this package has the same name.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f'the tracker {name} needs its package: pip install "sml-jax[{name}]"') from None
