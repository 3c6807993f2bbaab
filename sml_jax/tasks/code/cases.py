"""Judges a program by inputs and outputs: what it prints for an input, or what its function returns for arguments.

Outputs are compared by the rules of LiveCodeBench (lcb_runner/evaluation/testing_util.py,
https://github.com/LiveCodeBench/LiveCodeBench): white space around the whole and around each line does not count, and
two lines agree when they are the same text or the same decimal numbers. Expected outputs never enter the process that
runs the program.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from sml_jax.common.errors import UserError
from sml_jax.tasks.code.confined import run_candidate
from sml_jax.tasks.code.detail import detail_of, difference, shorten
from sml_jax.tasks.code.problem import CallCase, Case, IoCase
from sml_jax.tasks.code.sandbox import CANDIDATE, DEFAULT_LIMITS, Ending, Limits, Run
from sml_jax.tasks.problems.types import Verdict

_INPUT_CHARACTERS = 100  # of an input or output that a verdict shows
_MAX_DIGITS = 10_000  # of a line that is read as numbers

CONTEST_SETUP = """
import bisect, collections, copy, datetime, functools, heapq, io, itertools
import math, operator, random, re, string, sys, time
from bisect import *
from collections import *
from copy import *
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import *
from string import *
from typing import *
sys.setrecursionlimit(50000)
"""
"""Imports that solutions of contest problems rely on without writing them. For `CodeProblem.setup`."""


def run_cases(
    code: str, cases: Sequence[Case], entry: str = "", limits: Limits = DEFAULT_LIMITS, setup: str = ""
) -> Verdict:
    """Runs a program on every case until one fails. `limits` apply to each case anew.

    For an `IoCase`, `code` runs as a main program in a new process, which reads the case's text on its standard input.
    It may print at most twice the expected length or `limits.file_bytes`, whichever is more. It may exit with any
    status, but must not end by an error or a signal. All `CallCase`s call the function in one process, in order. If the
    code has a `class Solution` with that method, each call is made on a new instance.

    The program is isolated as in `run_tests`.

    Args:
      code: the program that is judged.
      cases: at least one.
      entry: name of the function or method that each `CallCase` calls.
      limits: what the program may use for one case.
      setup: Python text run before `code`, such as `CONTEST_SETUP`.

    Returns:
      The verdict: correct if no case fails; `attempted` is False for blank code. `detail` names the first case that
      fails with its input, and what was expected and came out, or the error or limit; at most 400 characters.

    Raises:
      UserError: there is no case, a `CallCase` without `entry` or with text that is not JSON, or no sandbox that
        `limits` allows.
      RuntimeError: no process could be started.
    """
    if not (code or "").strip():
        return Verdict(correct=False, attempted=False, detail="no code")
    if not cases:
        raise UserError("run_cases was given no case, so any code would pass: give at least one")
    # All calls share a process; each whole program has one of its own.
    calls = [(f"case {i}", case) for i, case in enumerate(cases, 1) if isinstance(case, CallCase)]
    parts = [("the setup", setup), (CANDIDATE, code)]
    failure = _run_calls(parts, calls, entry, limits) if calls else ""
    for number, case in enumerate(cases, 1):
        if failure:
            break
        if isinstance(case, IoCase):
            failure = _run_program(parts, f"case {number}", case, limits)
    if failure:
        return Verdict(correct=False, attempted=True, detail=failure)
    return Verdict(correct=True, attempted=True, detail=f"all {len(cases)} cases passed")


def same_output(expected: str, printed: str) -> bool:
    """Whether a program's output counts as the expected one.

    The rules are LiveCodeBench's: white space around the text and around each line does not count, and two lines agree
    if they are the same text or the same decimal numbers.
    """
    return first_difference(expected, printed) is None


def first_difference(expected: str, printed: str) -> int | None:
    """The index, from 0, of the first line in which two outputs differ by `same_output`'s rules; None if they agree."""
    expected_lines, printed_lines = _lines(expected), _lines(printed)
    for index, (left, right) in enumerate(zip(expected_lines, printed_lines, strict=False)):
        if left != right and not _same_numbers(left, right):
            return index
    return None if len(expected_lines) == len(printed_lines) else min(len(expected_lines), len(printed_lines))


def same_value(expected: object, returned: object) -> bool:
    """Whether a returned value equals the expected one, both read from JSON; 1, 1.0 and True are equal as in Python."""
    return expected == returned


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(left: str, right: str) -> bool:
    """Whether two lines are the same decimal numbers: "1.50 2" is "1.5 2.0"."""
    left_words, right_words = left.split(), right.split()
    if len(left_words) != len(right_words):
        return False
    if max(map(len, [*left_words, *right_words]), default=0) > _MAX_DIGITS:
        return False
    try:
        return [Decimal(word) for word in left_words] == [Decimal(word) for word in right_words]
    except InvalidOperation:
        return False


def _run_calls(
    parts: Sequence[tuple[str, str]], calls: Sequence[tuple[str, CallCase]], entry: str, limits: Limits
) -> str:
    """Calls the function `entry` for each case; returns a sentence on the first failure, "" if there is none."""
    if not entry.isidentifier():
        raise UserError(f"cases that call a function need its name, and entry is {entry!r}: give the function's name")
    expected_values = [_parse(case_name, case) for case_name, case in calls]
    returned_values: list[tuple[str, ...]] = []

    # Values are compared here as they come; the first wrong one ends the run.
    def on_value(value: tuple[str, ...]) -> bool:
        if len(returned_values) == len(expected_values):
            return True  # more than it was asked for
        returned_values.append(value)
        return _is_expected(value, expected_values[len(returned_values) - 1])

    run = Run("calls", parts, calls=[case.args for _, case in calls], entry=entry, on_value=on_value)
    ending = run_candidate(run, limits)
    if ending.words == ("passed",) and len(returned_values) == len(calls):
        return ""
    # It failed before the first call, or in the call that no value came of, or by its last value.
    if ending.at == "the setup" or ending.at == CANDIDATE:
        return detail_of(ending, limits, parts)
    if ending.words == ("missing",):
        return f"{CANDIDATE} defines no function {entry}"
    failed_index = (
        max(len(returned_values) - 1, 0) if ending.words == ("stopped",) else min(len(returned_values), len(calls) - 1)
    )
    case_name, case = calls[failed_index]
    label = (
        f"{case_name} ({entry}({shorten(case.args.strip().removeprefix('[').removesuffix(']'), _INPUT_CHARACTERS)}))"
    )
    if ending.words == ("stopped",):
        return shorten(f"{label} failed: {difference(case.expected.strip(), returned_values[-1][2])}")
    return detail_of(ending, limits, parts, label)


def _parse(name: str, case: CallCase) -> object:
    """The expected value. Raises a UserError if it or the arguments are not JSON."""
    try:
        if not isinstance(json.loads(case.args), list):
            raise UserError(f"{name}: args is not a JSON list: {shorten(case.args, _INPUT_CHARACTERS)}")
        return json.loads(case.expected)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: args or expected is not JSON ({error}): mend the case") from None


def _is_expected(value: tuple[str, ...], expected: object) -> bool:
    """Whether a value that the sandbox gave to `Run.on_value` equals the expected one."""
    kind, json_text, _ = value
    try:
        return kind == "json" and same_value(expected, json.loads(json_text))
    except (ValueError, RecursionError):
        return False


def _run_program(parts: Sequence[tuple[str, str]], name: str, case: IoCase, limits: Limits) -> str:
    """Runs a main program on one input; returns a sentence on its failure, "" if there is none."""
    expected = case.stdout.encode("utf-8", "replace")
    # The output is a file, so the limit on files is raised to hold what is expected, twice over.
    most_bytes = max(limits.file_bytes, 2 * len(expected) + (1 << 16))
    raised_limits = replace(limits, file_bytes=most_bytes)
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
        stdin.write(case.stdin.encode("utf-8", "replace"))
        stdin.flush()
        ending = run_candidate(Run("io", parts, stdin=stdin, stdout=stdout), raised_limits)
        stdout.seek(0)
        printed = stdout.read(most_bytes)
    label = f"{name} (input {shorten(repr(case.stdin[:_INPUT_CHARACTERS]), _INPUT_CHARACTERS)})"
    if len(printed) >= most_bytes:
        return f"{label} failed: it printed more than {most_bytes - 1} bytes"
    if not _ended_well(ending):
        return detail_of(ending, raised_limits, parts, label)
    output = printed.decode("utf-8", "replace")
    line_index = first_difference(case.stdout, output)
    return "" if line_index is None else shorten(f"{label} failed: {_wrong_output(case.stdout, output, line_index)}")


def _ended_well(ending: Ending) -> bool:
    """Whether the program ended without an error or a signal; `os._exit(0)` counts, as it would for a shell."""
    if ending.words == ("done",):
        return ending.status >= 0
    return ending.words == ("silent",) and ending.status == 0


def _wrong_output(expected: str, output: str, at: int) -> str:
    """The words for an output that differs from the expected one first in line `at`."""
    if not output.strip():
        return f"expected {shorten(repr(expected.strip()), _INPUT_CHARACTERS)}, got no output"
    both_lines = (_lines(expected), _lines(output))
    line = f"in line {at + 1} of the output " if max(map(len, both_lines)) > 1 else ""
    sides = [repr(lines[at]) if at < len(lines) else "no such line" for lines in both_lines]
    return line + difference(*sides)
