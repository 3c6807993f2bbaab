"""What the parent hears of a run, and whom it believes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import Any

from sml_jax.tasks.code.sandbox.errors import NotStarted
from sml_jax.tasks.code.sandbox.limits import VALUE_BYTES, Ending, Limits, Run

_CLAIMS_BYTES = 1 << 20  # of claims, beside returned values
_START_S = 60.0
_LAST_WORDS_S = 0.25


class SandboxMonitor:
    """Reads, in the process that started a run, what the run's processes write, and tells how the run ended.

    The launcher writes its status, the judge a report, and the candidate claims. Only the launcher and the judge are
    trusted. The claims word a failure, and carry the values that calls return, which are compared here.

    Args:
      run: what is run.
      limits: the run's limits; this object stops the run after `wall_s`.
      status, report, claims: numbers of the open files to read from.
      control: number of the open file to write orders for the launcher to.
    """

    def __init__(self, run: Run, limits: Limits, status: int, report: int, claims: int, control: int) -> None:
        self._run, self._limits, self._control = run, limits, control
        self._files = {status: self._on_status, report: self._on_report, claims: self._on_claim}
        self._status, self._claims = status, claims
        self._buffers = {number: bytearray() for number in self._files}  # the line that has not ended yet
        # From the launcher: who began, who ended how (exit status, seconds of processor time, reason).
        self._began: set[str] = set()
        self._ended: dict[str, tuple[int, float, str]] = {}
        self._trouble = ""
        # The part that the judge is at, and the one that the candidate claims to be at; the last words of both.
        self._at = self._claimed_at = ""
        self._report: tuple[str, ...] = ()
        self._claim: tuple[str, ...] = ()
        # The time is up; the launcher has left; the candidate is not listened to any more.
        self._late = self._over = self._stopped = False
        self._claims_read = 0  # bytes since the last returned value
        self._values_read = 0  # right ones
        self._deadline = time.monotonic() + _START_S

    def listen(self) -> None:
        """Takes in what launcher, judge and candidate write.

        Returns when the run is over, its time is up, or the candidate wrote too much or a wrong value. Then `ending`
        tells how it ended.
        """
        poll = select.poll()
        for number in self._files:
            poll.register(number, select.POLLIN)
        while not self._over and not self._stopped:
            seconds_left = self._deadline - time.monotonic()
            ready = poll.poll(max(0.0, seconds_left) * 1e3) if seconds_left > 0 else []
            if not ready:
                if time.monotonic() < self._deadline:
                    continue
                if self._late or not self._running():
                    self._late = True
                    return
                # A handler of the signal that follows reports the line that the program is at.
                self._late, self._deadline = True, time.monotonic() + _LAST_WORDS_S
                with contextlib.suppress(OSError):
                    os.write(self._control, b"L")
                continue
            for number, _ in ready:
                self._read_from(poll, number)
        # What was written before the launcher left is heard too.
        if self._over:
            for number in (n for n in self._files if n != self._status):
                while self._buffers[number] is not None and _is_ready(number) and self._read_from(poll, number):
                    pass

    def _running(self) -> bool:
        """Whether every process of the run has been locked up and has begun."""
        return "code" in self._began and (self._run.mode != "tests" or "judge" in self._began)

    def _read_from(self, poll: Any, number: int) -> bool:
        """Reads what is there to read, and handles the lines that it completes; False at the end of the file."""
        chunk = os.read(number, 1 << 16)
        # A candidate that talks without end is cut off.
        if number == self._claims:
            self._claims_read += len(chunk)
            most_bytes = _CLAIMS_BYTES + (2 * VALUE_BYTES if self._run.mode == "calls" else 0)
            if self._claims_read > most_bytes:
                chunk, self._stopped = b"", self._run.mode != "tests"
                self._claim = ("garbled",)
        if not chunk:
            with contextlib.suppress(KeyError):
                poll.unregister(number)
            if number == self._status:
                self._over = True
            return False
        buffer = self._buffers[number]
        buffer += chunk
        if b"\n" in chunk:
            *lines, unfinished = buffer.split(b"\n")
            self._buffers[number] = unfinished
            for line in lines:
                self._files[number](bytes(line))
        return True

    def _on_status(self, line: bytes) -> None:
        match line.decode("utf-8", "replace").split(" "):
            case ["began", role]:
                self._began.add(role)
                if self._running():
                    self._deadline = time.monotonic() + self._limits.wall_s
            case ["trouble", *words]:
                self._trouble = " ".join(words)
            case ["ended", role, code, spent, reason]:
                self._ended[role] = (int(code), float(spent), reason)
            case ["over"]:
                self._over = True

    def _on_report(self, line: bytes) -> None:
        match _words(line):
            case ("at", part) if not self._report:
                self._at = part
            case ("end", "error", kind, message, place, spot) if not self._report:
                self._report = ("error", kind, message, _line_number(place), spot)  # the line is the candidate's word
            case ("end", *words) if words and not self._report:
                self._report = tuple(words)

    def _on_claim(self, line: bytes) -> None:
        if self._stopped:
            return
        match _words(line):
            case ("at", part) if part in ("", *(name for name, _ in self._run.parts)):
                self._claimed_at = part or ("case" if self._run.mode == "calls" else self._claimed_at)
            case ("value", *words) if self._run.mode == "calls" and not self._late and not self._claim:
                self._claims_read = 0
                self._claimed_at = "case"
                if len(words) == 3 and self._run.on_value(tuple(words)):
                    # Only a right value buys time, and only once for each call.
                    self._values_read += 1
                    if self._values_read <= len(self._run.calls):
                        self._deadline = time.monotonic() + self._limits.wall_s
                else:
                    self._stopped, self._claim = True, ("stopped",)
            case ("end", *words) if not self._claim:
                self._claim = _claim(words)
            case ("done",) if not self._claim and self._run.mode == "io":
                self._claim = ("done",)

    def ending(self, launcher_status: int) -> Ending:
        """How the run ended, from what `listen` took in.

        Args:
          launcher_status: exit status of the launcher's process, for the error's text.

        Raises:
          NotStarted: not all processes of the run could be started.
        """
        if not self._running():
            raise NotStarted(self._trouble or f"it ended with status {launcher_status} before it began")
        with_tests = self._run.mode == "tests"
        part_name = self._at or self._claimed_at or self._run.parts[0][0]
        exit_status, cpu_seconds, reason = self._ended.get("code", (-signal.SIGKILL, 0.0, ""))

        # The judge's report decides. "gone" is not a report: the candidate left, and what it claims says why.
        if with_tests and self._report and not (self._late and self._report[0] in ("gone", "time")):
            if self._report[0] == "time":
                return Ending(part_name, ("time", ""), True, exit_status)
            if self._report != ("gone",):
                return Ending(part_name, self._report, False, exit_status)
        elif with_tests and not self._late:  # the judge left without a word
            exit_status, cpu_seconds, reason = self._ended.get("judge", (-signal.SIGKILL, 0.0, ""))
            out_of_cpu = exit_status == -signal.SIGKILL and cpu_seconds >= self._limits.cpu_s
            return Ending(part_name, ("time", "") if out_of_cpu else ("silent",), out_of_cpu, exit_status)

        # Without a report the candidate's claim words the failure. That it passed counts only where values were
        # compared here.
        claim: tuple[str, ...] = (
            self._claim if self._claim in (("done",), ("missing",), ("garbled",), ("stopped",)) else ()
        )
        if self._claim[:1] == ("error",) and len(self._claim) == 5:
            claim = self._claim
        if self._claim == ("passed",) and not with_tests:
            claim = self._claim
        if self._claim[:1] == ("time",) and len(self._claim) == 2:
            return Ending(part_name, ("time", self._claim[1]), not self._late, exit_status)

        # What the launcher and the clock say goes before most claims.
        if self._late and claim != ("stopped",):
            return Ending(part_name, ("time", ""), False, exit_status)
        if reason == "full":
            return Ending(part_name, ("full",), False, exit_status)
        if not claim and exit_status == -signal.SIGKILL and cpu_seconds >= self._limits.cpu_s:
            return Ending(part_name, ("time", ""), True, exit_status)
        return Ending(part_name, claim or ("silent",), False, exit_status)


def _claim(words: list[str]) -> tuple[str, ...]:
    """What a candidate may say of its end; () for anything else."""
    match words:
        case ["error", kind, message, line, _]:
            return "error", kind[:100], message[:300], _line_number(line), ""
        case ["time", line]:
            return "time", _line_number(line)
        case ["missing"] | ["passed"]:
            return (words[0],)
    return ()


def _line_number(text: str) -> str:
    """The text if it is a number of at most eight digits, else ""."""
    return text if text.isascii() and text.isdecimal() and len(text) < 9 else ""


def _is_ready(number: int) -> bool:
    """Whether an open file has something to read now."""
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


def _words(line: bytes) -> tuple[str, ...]:
    """The words of a line that `bare.reporter` wrote; () for any other line."""
    try:
        return tuple(bytes.fromhex(word.decode()).decode("utf-8", "replace") for word in line.split(b" "))
    except ValueError:
        return ()
