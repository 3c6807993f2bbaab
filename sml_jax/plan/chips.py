"""What the chips of each kind can do, and the slices that they come in.

Peaks and slices are the published ones (read on 2026-11-21): https://docs.cloud.google.com/tpu/docs/v5e,
https://docs.cloud.google.com/tpu/docs/v5p and https://docs.cloud.google.com/tpu/docs/v6e. Their bandwidth between chips
counts both directions; here stands one. The memory that a program may use is what the TPU compiler of libtpu 0.0.42
says of itself ("exceeds available HBM (15.75G)"): a little less than the published 16, 95 and 32 GB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
      kind: its name in a topology, "v5e".
      memory: bytes of main memory that programs may use; None where that is not known.
      flops: bfloat16 products a second. bandwidth: of the main memory, bytes a second. links: bytes a second that it
        sends to its neighbours, all links together. None where there is no published peak.
      slices: shapes that it comes in, smallest first.
    """

    kind: str
    memory: float | None
    flops: float | None
    bandwidth: float | None
    links: float | None
    slices: tuple[str, ...]

    @property
    def topologies(self) -> tuple[str, ...]:
        """The names of its slices, smallest first."""
        return tuple(f"{self.kind}:{shape}" for shape in self.slices)


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")

CHIPS = {
    chip.kind: chip
    for chip in (
        Chip("v5e", 15.75 * GIB, 197e12, 819e9, 200e9, _FLAT),
        Chip("v5p", 95.74 * GIB, 459e12, 2765e9, 600e9, _CUBES),
        Chip("v6e", 31.25 * GIB, 918e12, 1638e9, 400e9, _FLAT),
        # Simulated devices of this machine: programs are compiled and counted, not timed.
        Chip("cpu", None, None, None, None, ("1", "2", "4", "8")),
    )
}


def chips_in(topology: str) -> int:
    """Chips of a slice, of a name such as "v5e:4x8"."""
    return math.prod(int(side) for side in topology.partition(":")[2].split("x"))
