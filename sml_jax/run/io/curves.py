"""Curves for TensorBoard. They are a convenience: a curve that cannot be written never ends a run."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any


class Curves:
    """Writes scalars to a TensorBoard event file.

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
        self._writer: Any = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
            if purge_step is not None:
                start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._write(event_pb2.Event(step=purge_step, session_log=start))
        except OSError as error:
            self._give_up(error)

    def add(self, name: str, value: float | int, step: int) -> None:
        """Adds the point (step, value) to the curve `name`."""
        self._write(self._events.Event(step=step, summary=self._summary.scalar(name, value)))

    def close(self) -> None:
        """Writes buffered points to the file and closes it."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._give_up(error)

    def _write(self, event: Any) -> None:
        # After a failure no more points are taken.
        if self._writer is None:
            return
        event.wall_time = time.time()
        try:
            self._writer.write_event(event)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Warns once and writes no more."""
        warnings.warn(f"no more curves for TensorBoard are written ({error.strerror or error})", stacklevel=3)
        self._writer = None
