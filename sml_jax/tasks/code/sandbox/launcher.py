"""The bare process that starts a run: it forks the judge and the candidate, watches both and says how they ended.

It takes its orders from an open file and never runs what it carries. The tests come in a second file, which only the
judge reads, so they are in no memory that the candidate has ever shared.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import marshal
import os
import sys
from typing import Any

from sml_jax.tasks.code.sandbox import candidate, confine, judge

_TICK_S = 0.05


def main(request: dict[str, Any]) -> None:
    """Starts the processes of one run, waits until they have ended, and exits. Only a candidate's main program returns.

    Args:
      request: the dictionary that `runner` sends; it tells what to run, the limits, the walls and the open files.
    """
    import select

    if request["walls"]["seccomp"]:
        import ctypes  # noqa: F401 - once here, not in each child

    files = request["files"]
    scratch = request["scratch"] or os.getcwd()
    os.chdir(scratch)
    # The end of a child wakes the loop below: its signal writes a byte into this pipe.
    wake_reads, wake_writes = os.pipe()
    os.set_blocking(wake_writes, False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    _signal.set_wakeup_fd(wake_writes, warn_on_full_buffer=False)
    # The wire: a pipe for each direction between the two children. "code" is the candidate's role.
    code_reads, judge_writes = os.pipe()
    judge_reads, code_writes = os.pipe()
    code_files, judge_files = {code_reads, code_writes, files["claims"]}, {judge_reads, judge_writes, files["report"]}
    children: dict[int, str] = {}
    for role, own_files in (("judge", judge_files), ("code", code_files)):
        if role == "judge" and request["mode"] != "tests":
            continue
        child_pid = os.fork()
        if not child_pid:
            try:
                _signal.set_wakeup_fd(-1)
                _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
                _child(role, request, own_files, scratch, (code_reads, code_writes), (judge_reads, judge_writes))
            except BaseException:
                os._exit(1)
            return  # a whole program ends as Python does: it joins threads, runs exit handlers, flushes the output
        children[child_pid] = role
    # This process keeps nothing of what the children talk through, so that each hears when the other has ended.
    for number in (*code_files, *judge_files, files["tests"]):
        if number >= 0:
            os.close(number)
    null_file = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null_file, number)
    _watch(select.select, files, children, scratch, request, wake_reads)


def _child(
    role: str,
    request: dict[str, Any],
    own_files: set[int],
    scratch: str,
    code_wire: tuple[int, int],
    judge_wire: tuple[int, int],
) -> None:
    """What a child does: it locks itself up and runs the judge's or the candidate's program.

    Args:
      role: "judge" or "code".
      request: see `runner`.
      own_files: the numbers of the open files that are this child's alone.
      scratch: the folder that it may write to.
      code_wire, judge_wire: (reading, writing) of either side.
    """
    files = request["files"]
    if hasattr(os, "setsid"):
        os.setsid()
    status_file = files["status"]
    needed_files = {0, 1, 2, status_file, *own_files} | ({files["tests"]} if role == "judge" else set())
    confine.close_files(except_for=needed_files)
    # The judge reads the tests before it is locked up. It prints nothing.
    tests: list[tuple[str, str]] = []
    if role == "judge":
        with open(files["tests"], "rb") as file:
            tests = marshal.load(file)
        null_file = os.open(os.devnull, os.O_RDWR)
        for file_number in (0, 1, 2):
            os.dup2(null_file, file_number)
        os.close(null_file)
    try:
        confine.limit(request["limits"], len(request["calls"]))
        confine.lock(request["walls"], scratch, role == "judge")
    except OSError as error:
        os.write(status_file, f"trouble {error.strerror}\n".encode())
        os._exit(1)
    os.write(status_file, f"began {role}\n".encode())
    os.close(status_file)
    # No program finds these modules by their names.
    for name in [name for name in sys.modules if name == "sml_jax" or name.startswith("sml_jax.")]:
        del sys.modules[name]
    if role == "judge":
        judge.main(request, tests, files["report"], *judge_wire)
    candidate.main(request, files["claims"], *code_wire)


def _watch(
    wait: Any, files: dict[str, int], children: dict[int, str], scratch: str, request: dict[str, Any], wake: int
) -> None:
    """Watches the children until the run is over: reaps them, obeys the parent, kills a candidate that fills the disk.

    Args:
      wait: `select.select`.
      files: the request's.
      children: roles by process id.
      scratch: the folder that the run may write to.
      request: see `runner`.
      wake: the pipe that has something to read when a child has ended.
    """
    # With tests the run is over when the judge has ended, else when the candidate has.
    last_role = "judge" if "judge" in children.values() else "code"
    reason = ""
    is_full = _ScratchLimit(scratch, request)
    while children:
        ready = wait([files["control"], wake], [], [], _TICK_S)[0]
        if wake in ready:
            os.read(wake, 4096)
        if files["control"] in ready:
            # "L": the time is up, and the candidate may say at which line it is. No word: the parent is done or gone.
            order = os.read(files["control"], 1)
            if order == b"L":
                for child in [child for child, role in children.items() if role == "code"]:
                    os.kill(child, _signal.SIGXCPU)
            else:
                _kill(children)
        if is_full():
            reason = "full"
            _kill({child: role for child, role in children.items() if role == "code"})
        # Reap what has ended, and tell the parent how.
        ended = []
        for child in children:
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                ended.append(child)
                code = os.waitstatus_to_exitcode(status)
                cpu_seconds = usage.ru_utime + usage.ru_stime
                words = f"ended {children[child]} {code} {cpu_seconds:.3f} {reason or 'by-itself'}\n"
                os.write(files["status"], words.encode())
        for child in ended:
            if children.pop(child) == last_role:
                _kill(children)
    os.write(files["status"], b"over\n")
    os._exit(0)


def _kill(children: dict[int, str]) -> None:
    for child in children:
        for kill in (os.killpg, os.kill):
            try:  # noqa: SIM105 - contextlib costs milliseconds
                kill(child, _signal.SIGKILL)
            except OSError:
                pass


class _ScratchLimit:
    """Tells, when it is called, whether the scratch folder has more files or bytes than a run may write."""

    def __init__(self, scratch: str, request: dict[str, Any]) -> None:
        self._scratch = scratch
        self._most_bytes, self._most_files = request["scratch_bytes"], request["scratch_files"]
        self._is_file_system = bool(request["scratch"])  # of its own, whose size in bytes the kernel limits
        stats = os.statvfs(scratch)
        self._files_before = stats.f_files - stats.f_ffree

    def __call__(self) -> bool:
        if self._is_file_system:
            stats = os.statvfs(self._scratch)
            return stats.f_files - stats.f_ffree - self._files_before > self._most_files
        # An ordinary folder is measured file by file.
        size, count, folders = 0, 0, [self._scratch]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        count += 1
                        if count > self._most_files:
                            return True
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            size += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError:
                return True  # too deep or closed to look into
        return size > self._most_bytes
