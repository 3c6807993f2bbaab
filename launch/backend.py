"""Runs jobs through XManager: its list of experiments, its local executor, and submission to a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.jobs import Job
from sml_jax.common.errors import Stopped, UserError


@dataclass(frozen=True)
class Submitted:
    """A job that a cluster has taken.

    Attributes:
      name: what the cluster calls it.
      namespace: of Kubernetes; None for Vertex AI.
    """

    name: str
    namespace: str | None = None


RETRY = Path(__file__).resolve().parent / "retry.sh"


def local_command(job: Job) -> list[str]:
    """The command of a local run: this Python's own `sml_jax`, which `retry.sh` restarts and whose output it keeps."""
    return [str(RETRY), f"--log={log_path(job)}", sys.executable, "-m", "sml_jax", "train", *job.arguments]


def log_path(job: Job) -> str:
    """The file beside the run's folder that keeps what a local run prints."""
    return f"{job.workdir.rstrip('/')}.log"


def default_database() -> Path:
    """Where XManager's list of experiments is kept unless `--xm_db` says otherwise."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sml-jax" / "xmanager.sqlite3"


def open_xmanager(database: Path) -> None:
    """Prepares XManager: parses its flags and tells it where its database is.

    Args:
      database: an SQLite file, made if it is not there.

    Raises:
      UserError: XManager is not installed, or the database cannot be opened.
    """
    try:
        from absl import flags
        from xmanager import xm_flags  # noqa: F401  (defines the flags)
        from xmanager.xm_local.storage import database as storage
    except ImportError as error:
        raise UserError(f"XManager is not installed ({error}): pip install -e '.[launch]'") from error
    # XManager takes its database from a flag that names a YAML file.
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "db.yaml"
        settings = f"{{backend: sqlite, db_name: {str(database.absolute())!r}}}"
        config.write_text(f"sql_connector: sqlite\nsql_connection_settings: {settings}\n")
        flags.FLAGS(["xm.py", f"--xm_db_yaml_config_path={config}"])
        try:
            storage.database()  # XManager reads the file here, once
        except Exception as error:
            raise UserError(f"XManager's database {database}: {' '.join(str(error).split())}; give --xm_db") from error


def run_local(title: str, jobs: Sequence[Job], parallel: int) -> list[bool]:
    """Runs jobs on this machine through XManager and waits for them.

    Args:
      title: the experiment's name in XManager.
      jobs: what to run.
      parallel: how many at a time.

    Returns:
      For every job, whether it ended with exit code 0.

    Raises:
      Stopped: SIGINT or SIGTERM came. The runs have been told, and have ended.
    """
    from xmanager import xm, xm_local
    from xmanager.xm_local import executables

    # XManager runs `sh -c COMMAND` and sends signals to that shell; with `exec` it is the program that gets them.
    executable = executables.LocalBinary(name="sml-jax", command="exec")
    succeeded = [False] * len(jobs)
    units: list[Any] = []
    stops: list[str] = []

    async def run_one(i: int, gate: asyncio.Semaphore, experiment: Any) -> None:
        async with gate:
            name, arguments = jobs[i].point or title, local_command(jobs[i])
            unit = await experiment.add(xm.Job(executable, xm_local.Local(), name=name, args=arguments))
            units.append(unit)
            # A failed job must not end the others; its entry stays False.
            with contextlib.suppress(xm.ExperimentUnitError):
                await unit.wait_until_complete()
                succeeded[i] = True

    async def run_all() -> None:
        me = asyncio.current_task()
        assert me is not None
        # A signal cancels this task, which then stops the runs.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)  # as SIGINT does by itself
        gate = asyncio.Semaphore(parallel)
        async with xm_local.create_experiment(experiment_title=title) as experiment:
            try:
                await asyncio.gather(*(run_one(i, gate, experiment) for i in range(len(jobs))))
            except asyncio.CancelledError:
                stops.append("stopped, and the runs with it, their state saved: the same command goes on with them")
                await _stop(units)

    try:
        asyncio.run(run_all())
    except RuntimeError:  # on leaving, XManager raises for a failed job a second time
        if all(succeeded):
            raise
    if stops:
        raise Stopped(stops[0])
    return succeeded


async def _stop(units: Sequence[Any]) -> None:
    """Sends SIGTERM to all running jobs and waits for them, which XManager does not do when it exits."""
    handles = [handle for unit in units for handle in unit._local_execution_handles]
    for handle in handles:
        handle.terminate()
    await asyncio.gather(*(handle.wait() for handle in handles), return_exceptions=True)


def submit_all(title: str, jobs: Sequence[Job], image: str, submit: Callable[[Job], Submitted]) -> list[str]:
    """Submits jobs to a cluster, one after the other, as work units of one experiment of XManager's.

    Args:
      title: the experiment's name in XManager.
      jobs: what to run.
      image: the container image, for XManager's records.
      submit: hands a job to the cluster; raises UserError.

    Returns:
      The cluster's name of each job.

    Raises:
      UserError: the cluster refused a job. Those before it have been submitted.
    """
    from xmanager import xm, xm_local

    from launch.described import Described, described_image

    # XManager wraps what an executor raises, so the refusal is kept aside and raised afterwards.
    submitted: list[str] = []
    refused: list[UserError] = []

    def submit_one(job: Job) -> Submitted | None:
        try:
            done = submit(job)
        except UserError as error:
            refused.append(error)
            return None
        submitted.append(done.name)
        return done

    async def submit_each() -> None:
        async with xm_local.create_experiment(experiment_title=title) as experiment:
            for job in jobs:
                executor = Described(submit=functools.partial(submit_one, job))
                name, arguments = job.point or title, list(job.arguments)
                await experiment.add(xm.Job(described_image(image), executor, name=name, args=arguments))
                if refused:
                    return

    asyncio.run(submit_each())
    if refused:
        done = f" ({len(submitted)} of {len(jobs)} jobs had been submitted)" if submitted else ""
        raise UserError(f"{refused[0]}{done}")
    return submitted
