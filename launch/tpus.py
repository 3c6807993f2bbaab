"""TPU slices: `v5e:4x4` and what Google Cloud calls its parts.

Sources: "Plan TPUs in GKE" and "TPU configurations" of Google Cloud's documentation.
"""

import math
import re
from dataclasses import dataclass

from sml_jax.common.errors import UserError

# Generation -> (GKE's accelerator, machine type without its number of chips, the shapes that one host holds).
_GENERATIONS = {
    "v4": ("tpu-v4-podslice", "ct4p-hightpu", {"2x2x1": 4}),
    "v5e": ("tpu-v5-lite-podslice", "ct5lp-hightpu", {"1x1": 1, "2x2": 4, "2x4": 8}),
    "v5p": ("tpu-v5p-slice", "ct5p-hightpu", {"2x2x1": 4}),
    "v6e": ("tpu-v6e-slice", "ct6e-standard", {"1x1": 1, "2x2": 4, "2x4": 8}),
}
_CHIPS_PER_HOST = 4  # in a slice of several hosts


@dataclass(frozen=True)
class Slice:
    """A TPU slice.

    Attributes:
      generation: `v5e` and the like.
      topology: `4x4`, or `2x2x4`.
      hosts: machines in it, each running one process.
      chips: chips of one host.
      machine: the machine type of a host, e.g. `ct5lp-hightpu-4t`.
      accelerator: the value of GKE's node label `cloud.google.com/gke-tpu-accelerator`.
    """

    generation: str
    topology: str
    hosts: int
    chips: int
    machine: str
    accelerator: str


def parse_slice(text: str) -> Slice:
    """Reads `GENERATION:TOPOLOGY`.

    Args:
      text: e.g. `v5e:4x4`.

    Returns:
      The slice.

    Raises:
      UserError: the text has another form, the generation is unknown, or the shape does not divide into hosts.
    """
    generation, _, topology = text.partition(":")
    if generation not in _GENERATIONS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology):
        known = ", ".join(_GENERATIONS)
        raise UserError(f"--topology={text}: write GENERATION:SHAPE, e.g. v5e:4x4; generations: {known}")
    accelerator, machine, single_host = _GENERATIONS[generation]
    sides = [int(side) for side in topology.split("x")]
    if len(sides) != len(next(iter(single_host)).split("x")):
        raise UserError(f"--topology={text}: {generation} has shapes such as {max(single_host, key=len)}")
    chips = math.prod(sides)
    # A shape that one host holds; else the slice is made of hosts with 4 chips each.
    if topology in single_host:
        return Slice(generation, topology, 1, chips, f"{machine}-{chips}t", accelerator)
    if chips % _CHIPS_PER_HOST or chips <= max(single_host.values()):
        raise UserError(
            f"--topology={text}: {generation} has {', '.join(single_host)} on one host, and multiples of 4 chips"
        )
    return Slice(
        generation, topology, chips // _CHIPS_PER_HOST, _CHIPS_PER_HOST, f"{machine}-{_CHIPS_PER_HOST}t", accelerator
    )
