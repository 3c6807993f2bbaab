"""What one run of a program may use, what is run, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

CANDIDATE = "the code"  # how reports and tracebacks call the part that is judged
VALUE_BYTES = 1 << 24  # of one returned value, as JSON


@dataclass(frozen=True)
class Limits:
    """The resources that one run of a program may use.

    Attributes:
      wall_s: seconds until the verdict, counted from when the run's processes have started.
      cpu_s: seconds of processor time for the program, and as many for its tests.
      memory_bytes: address space of the program's process and of its tests' process, each.
      file_bytes: the largest size of one file that it writes. All its files together may hold 64 MiB, and there may be
        4096 of them.
      open_files: the most files open at once in a process.
      weak: whether the run may go ahead with these limits alone if the machine offers no stronger sandbox (see
        docs/sandbox.md).
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
      at: name of the part (`Run.parts` and `Run.tests`) that was running at the end, or "case" in a call.
      words: how it ended: ("passed",); ("values", type of error, message, "", place, operator, expected, actual) for an
        `assert` that failed; ("error", type, message, line, place) for an error; ("time", line or "") if its time was
        up; ("silent",) if it exited without a report; ("garbled",) if it sent bytes that are no message; ("full",) if
        it wrote too many or too large files; ("missing",) if it does not define the function to call; ("stopped",) if
        `Run.on_value` ended it; ("done",) for a main program that ended. Lines are of the candidate's code.
      out_of_cpu: whether the time that was up was processor time.
      status: exit status of the candidate's process, or of the judge's if that ended the run; negative for a signal.
    """

    at: str
    words: tuple[str, ...]
    out_of_cpu: bool
    status: int


@dataclass(frozen=True)
class Run:
    """A program to run, and what to do with it.

    Attributes:
      mode: "tests": run the parts in one process, and the tests in another. "calls": run the parts, then call `entry`
        with each of `calls`. "io": run the parts as a main program.
      parts: (name, Python text) of the setup and of the code, in this order. The code's name is `CANDIDATE`.
      tests: (name, Python text) of each test, in order.
      calls: arguments of each call, as JSON text of a list.
      entry: name of the function to call, or of the method of `class Solution`. In mode "tests", the name that the
        tests take from the code although a builtin has it too.
      stdin: an open file with the program's standard input; None for an empty one.
      stdout: an open file to which the program's output goes; None to discard it.
      on_value: is called with what each call returned: ("json", value as JSON text, value as short text), or ("other",
        "", value as short text) for a value that JSON cannot hold. If it returns False, the run ends.
    """

    mode: str
    parts: Sequence[tuple[str, str]]
    tests: Sequence[tuple[str, str]] = ()
    calls: Sequence[str] = ()
    entry: str = ""
    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None
    on_value: Callable[[tuple[str, ...]], bool] = lambda returned: True
