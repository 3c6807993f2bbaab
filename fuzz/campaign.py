"""Runs cases of a target, one after the other, and collects the broken promises that they show."""

from __future__ import annotations

import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.source import Source
from sml_jax.common.errors import UserError


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
      name: on the command line.
      check: takes a case and raises, whatever it raises, where a promise of the package is broken.
      cpu_s: seconds of processor time that a case may take before it counts as a hang.
      close: ends what `check` has started.
    """

    name: str
    check: Callable[[Source], None]
    cpu_s: float = 10.0
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Finding:
    """A broken promise.

    Attributes:
      fault: the error with the innermost place in the package: the same for cases that show the same fault.
      data: the case.
      trace: the traceback of the error.
    """

    fault: str
    data: bytes
    trace: str


@dataclass
class Campaign:
    """What became of a target's cases.

    Attributes:
      cases: how many ran.
      findings: the shortest case of each fault.
      counts: how many cases showed each fault.
    """

    cases: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def run(self, target: Target, data: bytes) -> Finding | None:
        """Runs one case and counts it; returns the broken promise, if any."""
        self.cases += 1
        finding = run_case(target, data)
        if finding is not None:
            self.counts[finding.fault] = self.counts.get(finding.fault, 0) + 1
            # Short cases are easier to understand.
            if finding.fault not in self.findings or len(data) < len(self.findings[finding.fault].data):
                self.findings[finding.fault] = finding
        return finding

    def save(self, target: Target, folder: Path) -> None:
        """Writes the cases that found something, for `--replay`."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, (fault, finding) in enumerate(sorted(self.findings.items())):
            (folder / f"{target.name}-{number}.case").write_bytes(finding.data)
            (folder / f"{target.name}-{number}.txt").write_text(
                f"{fault}\nseen {self.counts[fault]} times\n\n{finding.trace}",
                encoding="utf-8",
                errors="backslashreplace",
            )


class HangError(BaseException):
    """A case took too long; no Exception, so that nothing in between swallows it."""


def run_case(target: Target, data: bytes) -> Finding | None:
    """Runs one case within the target's time; returns what it raised, None for nothing."""
    try:
        with _within(target.cpu_s):
            target.check(Source(data))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        trace = "".join(traceback.format_exception(error))
        return Finding(f"{type(error).__name__} {_place(error)}", data, trace[-6000:])
    return None


def _place(error: BaseException) -> str:
    """The innermost place of an error in the package, else in the targets, else anywhere."""
    frames = traceback.extract_tb(error.__traceback__)
    for part in ("/sml_jax/", "/fuzz/targets/"):
        for frame in reversed(frames):
            if part in frame.filename:
                return f"at {frame.filename.rpartition(part)[2]}:{frame.lineno}"
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


@contextmanager
def _within(cpu_s: float) -> Iterator[None]:
    """Raises HangError in the block once it has used so much processor time; regular expressions are stopped too."""
    # Only the main thread can be interrupted by a signal.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: Any) -> None:
        raise HangError(f"more than {cpu_s} s of processor time")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def random_cases(seed: int) -> Iterator[bytes]:
    """Cases without end: random bytes, and earlier cases with some bytes changed."""
    rng = random.Random(seed)
    earlier: list[bytes] = []
    while True:
        # Four in ten are earlier cases with a few bytes replaced or put in.
        if earlier and rng.random() < 0.4:
            data = bytearray(rng.choice(earlier))
            for _ in range(rng.randint(1, 6)):
                at = rng.randrange(len(data) + 1)
                if rng.random() < 0.5:
                    data[at : at + 1] = rng.randbytes(1)
                else:
                    data[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            data = bytearray(rng.randbytes(int(rng.expovariate(1 / 120)) + 4))
        case = bytes(data[:4096])
        # A sample of all cases so far is remembered.
        if len(earlier) < 512:
            earlier.append(case)
        else:
            earlier[rng.randrange(512)] = case
        yield case


def run_random(target: Target, campaign: Campaign, seed: int, cases: int | None = None, seconds: float = 0) -> None:
    """Runs a number of random cases, or random cases for a time.

    Args:
      target: what is fuzzed.
      campaign: counts the cases and collects the findings.
      seed: the same seed gives the same cases.
      cases: how many; None to go by time.
      seconds: how long, where `cases` is None.
    """
    end = time.monotonic() + seconds
    for number, data in enumerate(random_cases(seed)):
        if number == cases or (cases is None and time.monotonic() >= end):
            return
        campaign.run(target, data)


def allowed(function: Callable[[], Any]) -> Any:
    """What a function returns, or the UserError that it raises, which must be one line of text; others pass through."""
    try:
        return function()
    except UserError as error:
        text = str(error)
        if not text.strip() or len(text.splitlines()) != 1:
            raise AssertionError(f"an error of {len(text.splitlines())} lines: {text!r}") from error
        return error
