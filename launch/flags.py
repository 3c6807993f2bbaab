"""The command line of `launch/xm.py`."""

import argparse
from collections.abc import Sequence

from launch.sweep import Axis, parse_seeds, parse_sweep
from sml_jax.cli.flags import ProgramFlag, parse_program_flags
from sml_jax.common.errors import UserError

EXECUTORS = ("local", "vertex", "kubernetes")

_LAUNCH_FLAGS = (
    ProgramFlag("executor", f"where to run: {', '.join(EXECUTORS)}", required=True),
    ProgramFlag("seeds", "a run a seed: --seeds=0,1,2"),
    ProgramFlag("sweep", "a run a value: --sweep='online/adamw.learning_rate=[1e-4,3e-4]'; may be given again"),
    ProgramFlag("dry_run", "print the jobs and start none", default="false"),
    ProgramFlag("name", "the experiment's name; the last gin file's if not given"),
    ProgramFlag("parallel", "local: how many runs at a time", type=int, default=1),
    ProgramFlag("xm_db", "XManager's list of experiments; $XDG_STATE_HOME/sml-jax/xmanager.sqlite3 if not given"),
    ProgramFlag("image", "vertex, kubernetes: the container image, as launch/Dockerfile makes it"),
    ProgramFlag("topology", "vertex, kubernetes: the TPU slice, e.g. v5e:2x2"),
    ProgramFlag("spot", "vertex, kubernetes: true takes machines that may be taken back", default="false"),
    ProgramFlag("project", "vertex: the Google Cloud project"),
    ProgramFlag("region", "vertex: e.g. us-west1"),
    ProgramFlag("staging_bucket", "vertex: gs://BUCKET[/FOLDER] for what Vertex itself writes"),
    ProgramFlag("service_account", "vertex: the e-mail of the account that the job runs as"),
    ProgramFlag("max_hours", "vertex: the longest a job may run", type=float, default=168.0),
    ProgramFlag("namespace", "kubernetes: the namespace"),
    ProgramFlag("volume_claim", "kubernetes: the PersistentVolumeClaim that holds the runs, seen at /data"),
    ProgramFlag("context", "kubernetes: a context of the kubeconfig; the current one if not given"),
)
# Handed on to sml-jax train.
_TRAIN_FLAGS = (ProgramFlag("resume", "handed to sml-jax train: auto or must", default="auto"),)

# Flags that an executor cannot do without, and those that mean something to it alone.
_NEEDED = {
    "local": (),
    "vertex": ("image", "topology", "project", "region", "staging_bucket"),
    "kubernetes": ("image", "topology", "namespace", "volume_claim"),
}
_ONLY = {
    "local": {"parallel"},
    "vertex": {*_NEEDED["vertex"], "spot", "service_account", "max_hours"},
    "kubernetes": {*_NEEDED["kubernetes"], "spot", "context"},
}
DESCRIPTION = """Starts a run of `sml-jax train` for every point of a sweep, through XManager.

Each run has a folder of its own below --workdir and is started again after exit codes 75 (stopped, state saved) and 76
(another process of the run was lost). Needs `pip install -e '.[launch]'`; --dry_run does not. See docs/launch.md."""


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      `gin_files`, `gin_bindings`, `workdir` (str) and every flag above by name; `axes` (seeds first), `dry_run` and
      `spot` as bool, `passed_on` for `sml-jax train`.

    Raises:
      UserError: a flag is missing, unknown, malformed, or means nothing to the executor.
    """
    # --sweep may be given again and may hold anything, and --dry_run and --spot may stand alone: neither is how the
    # programs' flags are written, so both are taken care of first.
    sweeps = [argument.partition("=")[2] for argument in argv if argument.startswith("--sweep=")]
    rest = [
        f"{argument}=true" if argument in ("--dry_run", "--spot") else argument
        for argument in argv
        if not argument.startswith("--sweep=")
    ]
    flags = parse_program_flags("launch/xm.py", DESCRIPTION, rest, [*_LAUNCH_FLAGS, *_TRAIN_FLAGS])
    # What the executor needs, and what means nothing to it.
    if flags.executor not in EXECUTORS:
        raise UserError(f"--executor={flags.executor}: there is {', '.join(EXECUTORS)}")
    missing = [f"--{name}=..." for name in _NEEDED[flags.executor] if getattr(flags, name) is None]
    if missing:
        raise UserError(f"--executor={flags.executor} needs {' and '.join(missing)}; see launch/xm.py --help")
    for name in sorted({argument.partition("=")[0].removeprefix("--") for argument in rest}):
        if any(name in names for names in _ONLY.values()) and name not in _ONLY[flags.executor]:
            takers = " and ".join(executor for executor, names in _ONLY.items() if name in names)
            raise UserError(f"--{name} means nothing to --executor={flags.executor}: it is for {takers}")
    # Values out of range.
    if flags.parallel < 1:
        raise UserError(f"--parallel={flags.parallel}: at least 1")
    if not 0 < flags.max_hours <= 24 * 365:
        raise UserError(f"--max_hours={flags.max_hours:g}: more than 0 and at most {24 * 365}")
    if flags.resume not in ("auto", "must"):
        raise UserError(
            f"--resume={flags.resume}: a run that is started again must find its own folder; use auto or must"
        )
    flags.dry_run, flags.spot = _switch("dry_run", flags.dry_run), _switch("spot", flags.spot)
    flags.axes = _axes(flags.seeds, sweeps)
    flags.workdir = _workdir(str(flags.workdir), flags.executor)
    flags.passed_on = () if flags.resume == "auto" else (f"--resume={flags.resume}",)
    return flags


def _switch(name: str, text: str) -> bool:
    """The value of a flag that is true or false."""
    if text.lower() not in ("true", "false"):
        raise UserError(f"--{name}={text}: write --{name}=true, --{name}=false or --{name} alone")
    return text.lower() == "true"


def _axes(seeds: str | None, sweeps: Sequence[str]) -> list[Axis]:
    return [*([] if seeds is None else [parse_seeds(seeds)]), *(parse_sweep(text) for text in sweeps)]


def _workdir(path: str, executor: str) -> str:
    """Checks that --workdir, as the job sees it, outlives the job's machine; returns it."""
    if path.startswith("gs:"):
        raise UserError("--workdir is a folder: on Vertex AI, gs://BUCKET/PATH is seen at /gcs/BUCKET/PATH")
    if executor == "vertex" and not path.startswith("/gcs/"):
        raise UserError(f"--workdir={path}: on Vertex AI runs must lie in a bucket: --workdir=/gcs/BUCKET/PATH")
    if executor == "kubernetes" and not path.startswith("/data/"):
        raise UserError(f"--workdir={path}: the volume claim is seen at /data, so --workdir=/data/PATH")
    return path
