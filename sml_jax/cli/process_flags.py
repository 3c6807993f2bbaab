"""The flags by which a program is started in several processes, in JAX's own words."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sml_jax.cli.program_flags import ProgramFlag

if TYPE_CHECKING:
    from sml_jax.distributed.joining import Group


def auto(text: str) -> str:
    if text != "auto":
        raise ValueError("it takes auto alone")
    return text


PROCESS_FLAGS = (
    ProgramFlag("coordinator_address", "several processes: HOST:PORT of process 0, with a port that is free there"),
    ProgramFlag("num_processes", "several processes: how many there are", type=int),
    ProgramFlag("process_id", "several processes: the number of this one, from 0", type=int),
    ProgramFlag("distributed", "auto: several processes, found by JAX on a TPU pod or under Slurm", type=auto),
)


def group_of(flags: argparse.Namespace) -> Group:
    """The processes that the flags speak of.

    Raises:
      UserError: they do not fit together.
    """
    # Here, since --help need not wait for JAX.
    from sml_jax.distributed.joining import Group

    return Group(flags.coordinator_address, flags.num_processes, flags.process_id, detect=flags.distributed == "auto")
