"""Runs a candidate program in processes of its own, walled in, and hears how it ended."""

from __future__ import annotations

import contextlib
import functools
import inspect
import marshal
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict
from typing import Any

from sml_jax.tasks.code.sandbox import (
    asserts,
    bare,
    candidate,
    candidate_end,
    confine,
    judge,
    judge_end,
    launcher,
    lending,
    name_usage,
    peer,
    plain,
    proxies,
    proxy_factory,
    proxy_objects,
    requests,
    value_types,
    walls,
    wire,
    wire_reader,
)
from sml_jax.tasks.code.sandbox.errors import NotStarted
from sml_jax.tasks.code.sandbox.limits import CANDIDATE, VALUE_BYTES, Ending, Limits, Run
from sml_jax.tasks.code.sandbox.monitor import SandboxMonitor

# The program of the bare processes, each module after those that it imports.
_BARE_MODULES = (
    *(confine, value_types, wire, wire_reader, proxies, proxy_objects, proxy_factory, plain, lending, peer),
    *(requests, judge_end, candidate_end, asserts, bare, name_usage, candidate, judge, launcher),
)
_END_S = 10.0  # to wait for the launcher to leave
_PAUSES_S = (0.1, 1.0)  # between attempts to start
# The first program of the launcher: it makes modules of the code objects in its open file, under the names by which
# they import each other, and starts the last. marshal, because a bare interpreter has it loaded: json would double the
# start-up.
_BOOT = """import marshal, sys
file, kind = open(int(sys.argv[1]), "rb"), type(sys)
above = None
for name in ("sml_jax", "sml_jax.tasks", "sml_jax.tasks.code.sandbox"):
    sys.modules[name] = above = kind(name)
    above.__path__ = []
for name, code in marshal.load(file):
    full = "sml_jax.tasks.code.sandbox." + name
    sys.modules[full] = part = kind(full)
    setattr(above, name, part)
    exec(code, part.__dict__)
request = marshal.load(file)
file.close()
start = part.main
del above, file, kind, name, code, full, part
start(request)"""


def run_confined(run: Run, limits: Limits, behind: walls.Walls) -> Ending:
    """Runs a program in new processes in a sandbox, with an empty folder to write to.

    Args:
      run: the program, and what to do with it.
      limits: the resources that it may use; in mode "calls" the limits on time apply to each call anew.
      behind: the sandbox, from `protection.strongest_walls`.

    Returns:
      How the run ended. All its processes have ended by then.

    Raises:
      RuntimeError: the processes could not be started in three attempts; this says nothing about the program.
    """
    for pause in (*_PAUSES_S, None):
        try:
            return _attempt(run, limits, behind)
        except NotStarted as error:
            trouble = str(error)
        except OSError as error:
            trouble = error.strerror or str(error)
        if pause is None:
            raise RuntimeError(
                f"no process could be started to run a program in ({trouble}): "
                "look at the machine's free memory, its process limit and Limits.memory_bytes"
            )
        time.sleep(pause)
    raise AssertionError("unreachable")


def _attempt(run: Run, limits: Limits, behind: walls.Walls) -> Ending:
    """Starts the launcher once and listens until the run has ended.

    Raises:
      NotStarted, OSError: it could not be started, or the run never began.
    """
    with contextlib.ExitStack() as stack:

        def pipe() -> tuple[int, _OpenFile]:
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            return reader, stack.enter_context(_OpenFile(writer))

        # What comes back: the candidate's claims, the judge's report, the launcher's status. Control goes the other
        # way: the launcher ends the run when this process closes it, or dies.
        claims, report, status = pipe(), pipe(), pipe()
        control, orders = os.pipe()
        control_end, orders_end = stack.enter_context(_OpenFile(control)), stack.enter_context(_OpenFile(orders))
        folder = "/"  # bubblewrap brings a scratch folder of its own
        if not behind.prefix:
            folder = tempfile.mkdtemp(prefix="run_tests_")
            stack.callback(walls.remove_folder, folder)
        # The tests travel in a file of their own, which the judge alone reads.
        tests_file = stack.enter_context(tempfile.TemporaryFile())
        marshal.dump(list(run.tests), tests_file)
        tests_file.seek(0)
        program = stack.enter_context(tempfile.TemporaryFile())
        marshal.dump(_modules(), program)
        files = dict(claims=claims[1].number, report=report[1].number, status=status[1].number, control=control)
        request = dict(
            mode=run.mode,
            parts=list(run.parts),
            calls=list(run.calls),
            entry=run.entry,
            candidate=CANDIDATE,
            value_bytes=VALUE_BYTES,
            cpu_s=limits.cpu_s,
            limits=asdict(limits),
            walls=behind.request,
            scratch=walls.SCRATCH if behind.prefix else "",
            scratch_bytes=walls.SCRATCH_BYTES,
            scratch_files=walls.SCRATCH_FILES,
            paths=walls.package_folders(),
            files={**files, "tests": tests_file.fileno()},
        )
        marshal.dump(request, program)
        program.seek(0)
        if run.stdin is not None:
            run.stdin.seek(0)
        home = walls.SCRATCH if behind.prefix else folder
        process = subprocess.Popen(
            # -s -P and the environment below isolate as -I does, but leave the order of sets the same on every run.
            [*behind.prefix, walls.python_executable(), "-s", "-P", "-S", "-B", "-c", _BOOT, str(program.fileno())],
            stdin=subprocess.DEVNULL if run.stdin is None else run.stdin,
            stdout=subprocess.DEVNULL if run.stdout is None else run.stdout,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
                "HOME": home,
                "TMPDIR": home,
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "PYTHONHASHSEED": "0",
            },
            pass_fds=(program.fileno(), *request["files"].values()),  # type: ignore[attr-defined]
            start_new_session=True,
        )
        # The launcher holds the other ends now, so that a pipe ends when its processes have.
        try:
            for end in (claims[1], report[1], status[1], control_end):
                end.close()
            monitor = SandboxMonitor(run, limits, status[0], report[0], claims[0], orders)
            monitor.listen()
        finally:
            orders_end.close()  # the launcher ends what it started, then itself
            _end(process)
        return monitor.ending(process.returncode)


class _OpenFile:
    """The number of an open file that is closed once, by hand or at the end of a `with` block."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits until the launcher has left, which it does once all is dead; past ten seconds, kills it."""
    try:
        if hasattr(os, "pidfd_open"):  # without it, `wait` with a timeout sleeps between looks
            handle = os.pidfd_open(process.pid)
            # A process's handle is readable when the process has ended.
            try:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                poll.poll(_END_S * 1e3)
            finally:
                os.close(handle)
            process.wait(0.01)
        else:
            process.wait(_END_S)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


@functools.cache
def _modules() -> list[tuple[str, Any]]:
    """The bare processes' program: (name, code object) of each of its modules."""
    return [
        # typing, which is there for type checkers alone, takes longer to import than Python takes to start.
        (
            part.__name__.rpartition(".")[2],
            compile(
                inspect.getsource(part).replace("from typing import Any\n", ""),
                "the judge's",
                "exec",
                dont_inherit=True,
            ),
        )
        for part in _BARE_MODULES
    ]
