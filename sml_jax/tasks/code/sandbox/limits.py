"""What one run of a program may use, what is run, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

CANDIDATE = "the code"  # how reports and tracebacks call the part that is judged
VALUE_BYTES = 1 << 24  # of one returned value, as JSON


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
      wall_s: seconds to the verdict, from when Python has started.
      cpu_s: processor seconds of the program, and again of its tests.
      memory_bytes: address space of each of the two.
      file_bytes: size of any one file it writes; all files together hold at most 64 MiB, and are 4096 at most.
      open_files: file descriptors open at once.
      weak: run behind resource limits alone where the machine has no wall to offer (see docs/sandbox.md).
    """

    wall_s: float = 10.0
    cpu_s: int = 5
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20
    open_files: int = 64
    weak: bool = False


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
      at: the name of the part that the run was in; "" before the first.
      words: what was last reported: ("passed",), which for tests comes from the judge alone; ("values", ...) or
        ("error", ...) of a failure; ("time", line or "") when the run was stopped for time; ("silent",) when it left
        without a word; ("garbled",) when it sent something that is not a message; ("full",) when it wrote too much;
        ("missing",) when the called function is not there; ("stopped",) when `Run.on_value` ended it; ("done",) of a
        whole program.
      out_of_cpu: whether the time that ran out was the processor's.
      status: exit status of the candidate's process, or of the judge's where that ended the run; negative for a signal.
    """

    at: str
    words: tuple[str, ...]
    out_of_cpu: bool
    status: int


@dataclass(frozen=True)
class Run:
    """What is run.

    Attributes:
      mode: "tests" (the parts in one process, the tests in another), "calls" (the parts, then `entry` is called with
        each of `calls`), or "io" (the parts are the main program, which ends as programs do).
      parts: (name, Python text) in order: the setup and the code, which is named `CANDIDATE`.
      tests: (name, Python text) in order.
      calls: JSON lists of arguments.
      entry: the function that is called, or the method of `class Solution`; with tests, the one they may take from the
        code although a builtin has its name.
      stdin: what it reads; nothing by default.
      stdout: an open file that takes its output, which is dropped by default.
      on_value: is given what a call returned, as ("json", JSON text, short text) or ("other", "", short text) for a
        value that JSON cannot hold; where it returns False, the run ends.
    """

    mode: str
    parts: Sequence[tuple[str, str]]
    tests: Sequence[tuple[str, str]] = ()
    calls: Sequence[str] = ()
    entry: str = ""
    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None
    on_value: Callable[[tuple[str, ...]], bool] = lambda returned: True
