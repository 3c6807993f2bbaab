"""What the chips of each kind can do, and the slices that they come in.

Peaks and slices are the published ones (read on 2026-11-21): https://docs.cloud.google.com/tpu/docs/v5e,
https://docs.cloud.google.com/tpu/docs/v5p and https://docs.cloud.google.com/tpu/docs/v6e. Their bandwidth between chips
counts both directions; the numbers here are of one. The memory that an executable may use is what the TPU compiler of
libtpu 0.0.42 says in its errors ("exceeds available HBM (15.75G)"): a little less than the published 16, 95 and 32 GB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One kind of accelerator chip. A number is None if it is not published or known.

    Attributes:
      kind: its name in a topology, such as "v5e".
      memory: bytes of main memory that executables may use.
      flops: peak bfloat16 operations a second.
      bandwidth: peak bytes a second read from and written to the main memory.
      links: peak bytes a second that a chip sends to its neighbours, over all its links together.
      slices: shapes of the slices (groups of chips) that are on offer, such as "2x4", smallest first.
    """

    kind: str
    memory: float | None
    flops: float | None
    bandwidth: float | None
    links: float | None
    slices: tuple[str, ...]

    @property
    def topologies(self) -> tuple[str, ...]:
        """Full names of this chip's slices, such as "v5e:2x2", smallest first."""
        return tuple(f"{self.kind}:{shape}" for shape in self.slices)


# Slices of chips in a two-dimensional and in a three-dimensional torus.
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")

CHIPS = {
    chip.kind: chip
    for chip in (
        Chip("v5e", 15.75 * GIB, 197e12, 819e9, 200e9, _FLAT),
        Chip("v5p", 95.74 * GIB, 459e12, 2765e9, 600e9, _CUBES),
        Chip("v6e", 31.25 * GIB, 918e12, 1638e9, 400e9, _FLAT),
        # Simulated devices of this machine: executables are compiled and counted, but not timed.
        Chip("cpu", None, None, None, None, ("1", "2", "4", "8")),
    )
}


def chips_in(topology: str) -> int:
    """Number of chips in the slice `topology`, from its full name: 32 for "v5e:4x8"."""
    return math.prod(int(side) for side in topology.partition(":")[2].split("x"))
