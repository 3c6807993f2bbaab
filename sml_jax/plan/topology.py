"""The devices of a slice that is not there. This is the one module that touches libtpu."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from sml_jax.common.errors import UserError
from sml_jax.common.suggest import nearest
from sml_jax.plan.chips import CHIPS, Chip, chips_in

_MISSING = "planning for a TPU needs its compiler, libtpu: pip install 'sml-jax[plan]'"


def parse_topology(text: str) -> tuple[Chip, str | None]:
    """Reads the value of the flag --topology.

    Args:
      text: a slice, such as "v5e:4x8"; a kind of chip, such as "v5e", for any slice of that kind; or "cpu:8", for eight
        simulated devices of this machine.

    Returns:
      (chip, full name of the slice). The name is None if `text` names only a kind.

    Raises:
      UserError: no such kind or slice is known; the error lists those that are.
    """
    kind, colon, shape = text.strip().lower().partition(":")
    if kind not in CHIPS:
        raise UserError(f"--topology={text}: no such kind; there are {', '.join(CHIPS)}, such as v5e:4x8")
    chip = CHIPS[kind]
    if not colon:
        return chip, None
    # Simulated devices come in any number.
    is_known = shape in chip.slices or (kind == "cpu" and re.fullmatch(r"[1-9]\d{0,3}", shape))
    if not is_known:
        suggestions = nearest(shape, chip.slices)
        hint = f"did you mean {kind}:{suggestions[0]}? " if suggestions else ""
        raise UserError(f"--topology={text}: no such slice; {hint}there are {', '.join(chip.topologies)}")
    return chip, f"{kind}:{shape}"


def prepare(topology: str) -> None:
    """Sets this process up to compile for a slice. It must be called before JAX starts a backend.

    JAX is set to run on the CPU even where there is an accelerator, since nothing is computed.

    Args:
      topology: name of a slice or of a kind of chip. For "cpu:8", JAX is set to simulate eight devices.
    """
    kind, _, shape = topology.partition(":")
    os.environ["JAX_PLATFORMS"] = "cpu"
    with contextlib.suppress(RuntimeError):  # raised if a backend runs already: then its devices must do
        jax.config.update("jax_platforms", "cpu")
        if kind == "cpu":
            jax.config.update("jax_num_cpu_devices", int(shape or CHIPS["cpu"].slices[-1]))


def devices_of(topology: str) -> Sequence[Any]:
    """The JAX devices of a slice, in JAX's order; those of a TPU slice need not exist.

    Args:
      topology: full name of the slice, such as "v5e:4x8".

    Raises:
      UserError: libtpu is not installed or does not know the slice, or there are not as many simulated devices.
    """
    kind, _, shape = topology.partition(":")
    if kind == "cpu":
        devices = jax.devices("cpu")
        if len(devices) < chips_in(topology):
            raise UserError(
                f"--topology={topology}: this process has {len(devices)} simulated devices: set XLA_FLAGS="
                f"--xla_force_host_platform_device_count={shape}"
            )
        return devices[: chips_in(topology)]
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(_MISSING)
    # libtpu would ask the cloud's metadata server which TPU this is, and wait for it. These variables answer instead.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no chip is used, so that several processes may plan at once
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"--topology={topology}: libtpu gives no such slice ({first_line})") from error
