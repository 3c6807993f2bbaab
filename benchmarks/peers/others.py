"""How busy the machine was with other things while a side ran: a timing beside other work is none."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Others:
    """Counts from here on. Linux only; elsewhere nothing is known.

    Args:
      process: the id of the process that is being timed.
    """

    def __init__(self, process: int):
        self._process = process
        self._before = self._ticks()
        self._started = time.perf_counter()

    def cores(self) -> float | None:
        """Cores that other processes kept busy on average since."""
        after = self._ticks()
        if self._before is None or after is None:
            return None
        ticks = (after[0] - self._before[0]) - (after[1] - self._before[1])
        seconds = time.perf_counter() - self._started
        return max(0.0, ticks / os.sysconf("SC_CLK_TCK") / max(seconds, 1e-9))

    def _ticks(self) -> tuple[int, int] | None:
        """Ticks of all cores that were not idle (steal by other machines included), and the process's own."""
        try:
            every = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
            own = Path(f"/proc/{self._process}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError, ValueError):
            return None
        return sum(every) - every[3] - every[4], int(own[11]) + int(own[12])
