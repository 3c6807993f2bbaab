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
_CHIPS_OF_MANY = 4  # a host's chips in a slice of several hosts


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
      UserError: another form, an unknown generation, or a shape that does not divide into its hosts.
    """
    generation, _, topology = text.partition(":")
    if generation not in _GENERATIONS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology):
        known = ", ".join(_GENERATIONS)
        raise UserError(f"--topology={text}: write GENERATION:SHAPE, e.g. v5e:4x4; generations: {known}")
    accelerator, machine, single = _GENERATIONS[generation]
    sides = [int(side) for side in topology.split("x")]
    if len(sides) != len(next(iter(single)).split("x")):
        raise UserError(f"--topology={text}: {generation} has shapes such as {max(single, key=len)}")
    chips = math.prod(sides)
    if topology in single:
        return Slice(generation, topology, 1, chips, f"{machine}-{chips}t", accelerator)
    if chips % _CHIPS_OF_MANY or chips <= max(single.values()):
        raise UserError(
            f"--topology={text}: {generation} has {', '.join(single)} on one host, and multiples of 4 chips"
        )
    return Slice(
        generation, topology, chips // _CHIPS_OF_MANY, _CHIPS_OF_MANY, f"{machine}-{_CHIPS_OF_MANY}t", accelerator
    )
