"""The jobs of an experiment: one for each point of a sweep, each with a folder of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch.sweep import Axis, points
from sml_jax.common.errors import UserError


@dataclass(frozen=True)
class Job:
    """One run of `sml-jax train`.

    Attributes:
      point: the values that only this run has, e.g. `seed=0,learning_rate=1e-4`; empty for a single run.
      label: a name of lower-case letters, digits and dashes, as Kubernetes wants it.
      workdir: the run's folder, where the job runs.
      arguments: of `sml-jax train`.
    """

    point: str
    label: str
    workdir: str
    arguments: tuple[str, ...]


def plan(
    name: str,
    workdir: str,
    gin_files: Sequence[str],
    gin_bindings: Sequence[str],
    axes: Sequence[Axis],
    passed_on: Sequence[str] = (),
) -> list[Job]:
    """Makes the jobs of an experiment.

    Args:
      name: the experiment's name; labels start with it.
      workdir: the folder above the runs, or the run's own folder where nothing is swept.
      gin_files: as in `--gin_file=FILE`.
      gin_bindings: what all runs share, `NAME=VALUE` each.
      axes: what varies.
      passed_on: further arguments of `sml-jax train`.

    Returns:
      One job for each point.

    Raises:
      UserError: a name is both swept and given to all runs.
    """
    # Gin would let the later flag win, so that every point of the sweep would be the same run.
    given = {binding.partition("=")[0] for binding in gin_bindings}
    for axis in axes:
        if axis.name in given:
            flag = "--seeds" if axis.name == "SEED" else "--sweep"
            raise UserError(f"{axis.name} is given by both --gin.{axis.name} and {flag}: take one of them away")
    sweep_points = points(axes)
    # Numbers of equal length, so that a cluster lists the jobs in order.
    digits = len(str(len(sweep_points) - 1))
    jobs = []
    for i, point in enumerate(sweep_points):
        folder = f"{workdir.rstrip('/')}/{point.folder}" if point.folder else workdir
        bindings = [f"--gin.{binding}" for binding in (*gin_bindings, *point.bindings)]
        files = [f"--gin_file={file}" for file in gin_files]
        jobs.append(
            Job(
                point.folder,
                label(name, f"{i:0{digits}d}" if point.folder else ""),
                folder,
                (*files, f"--workdir={folder}", *bindings, *passed_on),
            )
        )
    return jobs


def label(name: str, suffix: str = "") -> str:
    """Makes a name that Kubernetes takes (RFC 1123), of at most 52 characters, which leaves room for a pod's index.

    Args:
      name: any text.
      suffix: follows a dash and is never cut.

    Returns:
      Lower-case letters, digits and dashes, beginning with a letter and not ending with a dash.
    """
    # Every other character becomes a dash, and the front must be a letter.
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    text = text if text[:1].isalpha() else f"run-{text}".rstrip("-")
    tail = f"-{suffix}" if suffix else ""
    return text[: 52 - len(tail)].rstrip("-") + tail
