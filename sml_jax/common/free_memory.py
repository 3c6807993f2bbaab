"""How much memory this machine, or the container, can still give."""

from __future__ import annotations

from pathlib import Path

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


def free_bytes() -> int | None:
    """Bytes of memory that this machine, or the container, can still give; None where that is not told."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free_bytes = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    try:
        # A container may use less than its machine has; "max" says that it may use all.
        return min(free_bytes, int(_CGROUP.read_text()))
    except (OSError, ValueError):
        return free_bytes
