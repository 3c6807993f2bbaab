"""What is to be run: a job a point of the sweep, each with a folder of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch.sweep import Axis, points
from sml_jax.common.errors import UserError


@dataclass(frozen=True)
class Job:
    """One run of `sml-jax train`.

    Attributes:
      point: what sets it apart from the others, e.g. `seed=0,learning_rate=1e-4`; empty for a single run.
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
    """The jobs of an experiment.

    Args:
      name: the experiment's name; labels start with it.
      workdir: the folder above the runs, or the run's own folder where nothing is swept.
      gin_files: as in `--gin_file=FILE`.
      gin_bindings: what all runs share, `NAME=VALUE` each.
      axes: what varies.
      passed_on: further arguments of `sml-jax train`.

    Returns:
      A job a point.

    Raises:
      UserError: a name is both swept and given once for all.
    """
    given = {binding.partition("=")[0] for binding in gin_bindings}
    for axis in axes:
        if axis.name in given:
            flag = "--seeds" if axis.name == "SEED" else "--sweep"
            raise UserError(f"{axis.name} is given by both --gin.{axis.name} and {flag}: take one of them away")
    found = points(axes)
    digits = len(str(len(found) - 1))
    jobs = []
    for i, point in enumerate(found):
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
    """A name fit for Kubernetes, with room for a pod's index: RFC 1123, at most 52 characters.

    Args:
      name: any text.
      suffix: kept whole, after a dash.

    Returns:
      Lower-case letters, digits and dashes; it starts with a letter and ends with none of the dashes.
    """
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    text = text if text[:1].isalpha() else f"run-{text}".rstrip("-")
    tail = f"-{suffix}" if suffix else ""
    return text[: 52 - len(tail)].rstrip("-") + tail
