"""Starts a run of `sml-jax train` for every point of a sweep, through XManager:

  python launch/xm.py --gin_file=gin/recipes/pocket_math_online.gin --executor=local --workdir=/tmp/sweep \\
    --seeds=0,1 --sweep='online/adamw.learning_rate=[1e-4,3e-4]' --dry_run

On this machine, on Vertex AI or on Kubernetes; see docs/launch.md.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: its folder comes first, and would hide installed packages
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch import backend, kubernetes_jobs, vertex
from launch.flags import parse_flags
from launch.jobs import Job, label, plan
from launch.tpus import parse_slice
from sml_jax.cli.main import run_program


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit code: 0, or 1 where a local run failed."""
    flags = parse_flags(argv)
    name = flags.name or Path(flags.gin_files[-1]).stem
    jobs = plan(name, flags.workdir, flags.gin_files, flags.gin_bindings, flags.axes, flags.passed_on)
    # Everything is described and checked before the first job starts.
    describe = _describer(flags)
    descriptions = [describe(job) for job in jobs]
    _check_bindings(flags.gin_files, jobs)
    if flags.dry_run:
        print(_dry_run_text(flags.executor, jobs, descriptions))
        return 0
    backend.open_xmanager(Path(flags.xm_db).expanduser() if flags.xm_db else backend.default_database())
    if flags.executor == "local":
        return _report_local(jobs, backend.run_local(name, jobs, flags.parallel))

    # On a cluster, XManager calls this for one job after the other.
    def submit(job: Job) -> backend.Submitted:
        described = descriptions[jobs.index(job)]
        if flags.executor == "vertex":
            return backend.Submitted(vertex.submit(described, flags.project, flags.region))
        kubernetes_jobs.submit(described, flags.context)
        return backend.Submitted(job.label, flags.namespace)

    for job, given in zip(jobs, backend.submit_all(label(name), jobs, flags.image, submit), strict=True):
        print(f"submitted {given}: {job.workdir}")
    return 0


def _describer(flags: argparse.Namespace) -> Callable[[Job], Any]:
    """Returns a function that describes a job to the executor: as a command line, a CustomJob, or manifests."""
    if flags.executor == "local":
        return backend.local_command
    tpu = parse_slice(flags.topology)
    if flags.executor == "vertex":
        return lambda job: vertex.custom_job(
            job, tpu, flags.image, flags.staging_bucket, flags.max_hours, flags.spot, flags.service_account
        )
    return lambda job: kubernetes_jobs.manifests(job, tpu, flags.image, flags.namespace, flags.volume_claim, flags.spot)


def _check_bindings(gin_files: Sequence[str], jobs: Sequence[Job]) -> None:
    """Reads the recipe with every job's bindings here, so that a misspelt name ends no run on a cluster."""
    from sml_jax.gin_config.load import parse_gin
    from sml_jax.gin_config.overrides import split_gin_flags

    for job in jobs:
        parse_gin(gin_files, split_gin_flags(job.arguments).bindings)


def _dry_run_text(executor: str, jobs: Sequence[Job], descriptions: Sequence[Any]) -> str:
    """What a dry run prints: shell commands, a JSON list of CustomJobs, or a JSON List for `kubectl apply -f -`."""
    if executor == "local":
        heads = [f"# {job.point or 'one run'}" for job in jobs]
        return "\n".join(f"{head}\n{shlex.join(command)}" for head, command in zip(heads, descriptions, strict=True))
    if executor == "vertex":
        return json.dumps(descriptions, indent=2)
    items = [item for objects in descriptions for item in objects]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2)


def _report_local(jobs: Sequence[Job], succeeded: Sequence[bool]) -> int:
    """Prints how each local run ended; returns the exit code."""
    for job, success in zip(jobs, succeeded, strict=True):
        print(f"{'done' if success else 'FAILED'}: {job.workdir} (output: {backend.log_path(job)})")
    return 0 if all(succeeded) else 1


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
