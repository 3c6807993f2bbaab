"""Progress of long work: a live line on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from rich import progress as rich_progress
from rich.console import Console
from rich.text import Text

from sml_jax.run.io.compile_time import compile_seconds

# The time left follows the last reports, since steps grow faster or slower as dialogues change in length.
_REPORTS_FOR_PACE = 20


class Progress:
    """Shows step, metrics, time elapsed and time left while work goes on. Use it as a context manager.

    It writes to standard output. On a terminal one line is redrawn. Elsewhere (a file, a pipe, a "dumb" terminal) a
    plain line is printed at the first report, then every `interval` seconds, and at the end; never a control code.

    Args:
      title: the name of the work.
      total_steps: number of steps of the whole work.
      interval: seconds between plain lines.
      clock: returns seconds since some fixed moment.
      compiling: returns the seconds spent on compilation so far, which the time left leaves out: programs are compiled
        at the start, and the rest of the work does not wait for them again.
    """

    def __init__(
        self,
        title: str,
        total_steps: int,
        *,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        compiling: Callable[[], float] = compile_seconds,
    ):
        self._title = printable(title)
        self._total = total_steps
        self._interval = interval
        self._file = sys.stdout
        self._clock, self._compiling = clock, compiling
        self._started = clock()
        # (seconds of work, steps done) of the last reports, and the plain line that was not due yet.
        self._reports: deque[tuple[float, float]] = deque(maxlen=_REPORTS_FOR_PACE + 1)
        self._last_printed: float | None = None
        self._unprinted: str | None = None
        # Not Console.is_terminal, which FORCE_COLOR turns on for files and pipes as well.
        console = Console(file=self._file)
        can_redraw = self._file.isatty() and not console.is_dumb_terminal
        self._console: Console | None = console if can_redraw else None
        self._bar: rich_progress.Progress | None = None
        self._task = rich_progress.TaskID(0)

    def __enter__(self) -> Progress:
        # The time counts from when work begins, which may be later than when this was made.
        self._started = self._clock()
        if self._console is not None:
            self._bar = rich_progress.Progress(
                rich_progress.TextColumn("{task.description}", markup=False),
                rich_progress.BarColumn(bar_width=12),
                rich_progress.TextColumn("{task.fields[report]}", markup=False),
                rich_progress.TimeElapsedColumn(),
                rich_progress.TextColumn("{task.fields[left]}", markup=False),
                console=self._console,
                refresh_per_second=2,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self._title, total=self._total, report=f"step 0/{self._total}", left="left -"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        # The last report is always shown.
        elif self._unprinted is not None:
            self._print(self._unprinted)

    def step(self, done: float | int, values: Mapping[str, Any] | None = None) -> None:
        """Reports progress.

        Args:
          done: number of steps done so far, with the fraction of those under way. The first report of a resumed run may
            be higher than 1.
          values: numbers to show by name, such as success and dialogues/s.
        """
        now = self._clock()
        # A report without progress says nothing of the pace: the time that it took belongs to the next progress.
        if not self._reports or done != self._reports[-1][1]:
            self._reports.append((now - self._compiling(), done))
        time_left = self._time_left(done)
        shown_values = [f"{name} {_number(value)}" for name, value in (values or {}).items()]
        report = "  ".join([f"step {int(done)}/{self._total}", *shown_values])
        if self._bar is not None:
            # On a terminal: redraw the line.
            self._bar.update(self._task, completed=done, report=report, left=f"left {time_left}")
            return
        # Elsewhere: print a line if the last one is old enough, and keep it for the end if not.
        self._unprinted = f"{self._title}  {report}  elapsed {_clock_time(now - self._started)}  left {time_left}"
        if self._last_printed is None or now - self._last_printed >= self._interval:
            self._print(self._unprinted)

    def status(self, text: str) -> None:
        """Shows what the first step waits for: on a terminal in the line that is redrawn, elsewhere in plain lines."""
        if self._bar is not None:
            self._bar.update(self._task, report=printable(text))
        elif self._last_printed is None or self._clock() - self._last_printed >= self._interval:
            self._print(f"{self._title}  {printable(text)}")

    def note(self, text: str) -> None:
        """Prints `text` at once; on a terminal above the line that is redrawn."""
        if self._bar is not None:
            self._bar.console.print(Text(printable(text)))
        else:
            print(printable(text), file=self._file, flush=True)

    def _print(self, line: str) -> None:
        print(line, file=self._file, flush=True)
        self._last_printed = self._clock()
        self._unprinted = None

    def _time_left(self, done: float | int) -> str:
        """The time that the rest of the work will take at the pace of the last reports, as text; "-" if it is unknown.

        It is unknown at the first report: a resumed run did not start at 0.
        """
        (oldest_time, oldest_done), (newest_time, _) = self._reports[0], self._reports[-1]
        # Programs that were compiled side by side count for more time than has passed.
        worked_seconds = max(newest_time - oldest_time, 0.0)
        if done <= oldest_done or (not worked_seconds and done < self._total):
            return "-"
        return _clock_time(worked_seconds / (done - oldest_done) * max(0, self._total - done))


@contextmanager
def late_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A context manager that shows the progress of work whose length is known only when it is under way.

    Args:
      title: the name of the work.

    Yields:
      A function to be called with (steps done, all steps). The line begins with its first call, and begins anew when
      the number of all steps is another one, as when the work goes on with another file.
    """
    with ExitStack() as stack:
        shown: list[tuple[int, Progress]] = []

        def tell(done: int, total: int) -> None:
            if not shown or shown[-1][0] != total:
                stack.close()
                shown.append((total, stack.enter_context(Progress(title, total))))
            shown[-1][1].step(done)

        yield tell


def printable(text: str) -> str:
    """`text` with escapes in place of all characters that could control a terminal; newlines and tabs stay.

    A model whose tokenizer falls back to bytes can write any character.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _number(value: Any) -> str:
    """A number as text: whole numbers in full, others to three digits."""
    return str(value) if isinstance(value, int) else f"{float(value):.3g}"


def _clock_time(seconds: float) -> str:
    """Seconds as a text of hours, minutes and seconds, such as 1:02:03."""
    minutes, remaining_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remaining_seconds:02d}"
