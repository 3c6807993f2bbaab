"""How much of this machine the process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """The number of CPU cores that this process is allowed to run on."""
    # The affinity respects containers and batch systems that give a job part of a machine; macOS has none.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
