"""Tells how busy other processes kept the machine while a side ran. A timing beside other work means nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Others:
    """Counts from when it is made. It works on Linux only; elsewhere `cores` gives None.

    Args:
      process: the id of the process that is being timed.
    """

    def __init__(self, process: int):
        self._process = process
        self._before = self._ticks()
        self._started = time.perf_counter()

    def cores(self) -> float | None:
        """Cores that other processes have kept busy since then, on average."""
        after = self._ticks()
        if self._before is None or after is None:
            return None
        ticks = (after[0] - self._before[0]) - (after[1] - self._before[1])
        seconds = time.perf_counter() - self._started
        return max(0.0, ticks / os.sysconf("SC_CLK_TCK") / max(seconds, 1e-9))

    def _ticks(self) -> tuple[int, int] | None:
        """Ticks of all cores that were not idle (steal by other machines included), and those of the process."""
        try:
            # The first line counts ticks by kind over all cores; the process's line has its own at places 11 and 12,
            # and those of children that have ended at 13 and 14.
            all_cores = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
            process = Path(f"/proc/{self._process}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError, ValueError):
            return None
        # Places 3 and 4 are idle time and waiting for disks.
        return sum(all_cores) - all_cores[3] - all_cores[4], sum(map(int, process[11:15]))
