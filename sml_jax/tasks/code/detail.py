"""What a verdict on a program says: written for a teacher, and read again for a teacher that follows a script."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from sml_jax.tasks.code.sandbox import CANDIDATE, Ending, Limits

CHARACTERS = 400
"""Of a verdict's detail, at most."""
# The same of its parts.
_NAME_CHARACTERS, _VALUE_CHARACTERS, _LINE_CHARACTERS, _MESSAGE_CHARACTERS = 150, 85, 60, 120


def shorten(text: str, max_characters: int = CHARACTERS) -> str:
    """The text if it is short enough, else its start and "...", `max_characters` long in all."""
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."


def one_line(text: str, max_characters: int) -> str:
    """The text on one line, with white space replaced by single spaces and cut to `max_characters` by `shorten`."""
    return shorten(" ".join(text[: 20 * max_characters].split()), max_characters)


def detail_of(ending: Ending, limits: Limits, parts: Sequence[tuple[str, str]], label: str = "") -> str:
    """One line of text that says which part of a run failed and how, for `Verdict.detail`.

    Args:
      ending: how the run ended; it must not have passed.
      limits: the limits of the run.
      parts: (name, Python text) of the setup, the code and the tests.
      label: what to call the part that failed; "" for its name and, for a test, its text.

    Returns:
      For example "test 2 (assert f(3) == 9) failed: expected 9, got 6". At most 400 characters.
    """
    texts = dict(parts)
    label = label or _name(ending, texts)
    text = f"{label} failed: {_how(ending, limits, texts.get(CANDIDATE, ''))}"
    return shorten(" ".join(text[:4000].splitlines()))


def difference(expected: str, actual: str) -> str:
    """The words "expected X, got Y" for a wrong value; both arguments are texts, and cut to 85 characters each."""
    return f"expected {shorten(expected, _VALUE_CHARACTERS)}, got {shorten(actual, _VALUE_CHARACTERS)}"


def failure_hint(detail: str) -> str:
    """What a scripted teacher says about a failure: the student's error or wrong value, never what was expected.

    Args:
      detail: of the verdict, written by `detail_of`.

    Returns:
      One or two sentences.
    """
    # The wording that `_how` chose tells which kind of failure it was.
    reason = detail.partition(" failed: ")[2] or detail
    if reason.startswith("no end within"):
        line = re.search(r" \((line \d+: .*)\)$", reason)
        return "It does not end in time" + (f", at {line[1]}" if line else "") + ". Look for a loop that never stops."
    if ", got " in reason and "expected " in reason:
        return f"It runs, but one result is wrong: I got {reason.rpartition(', got ')[2]}. Go through your steps again."
    if reason.startswith("AssertionError") or " does not hold" in reason:
        return "It runs, but one result is wrong. Go through your steps again."
    return f"It stops with an error: {reason.removesuffix('.')}."


def _name(ending: Ending, texts: dict[str, str]) -> str:
    """The name of the part that failed; for a test with its text, or with the line that failed if it has several."""
    if not ending.at.startswith("test "):
        return ending.at
    test_text = texts.get(ending.at, "")
    # The report names the test and its lines as "test 1:2-3".
    place_match = re.fullmatch(r"(.*):(\d+)(?:-(\d+))?", ending.words[4] if len(ending.words) > 4 else "")
    if place_match and (place_match[1] != ending.at or len(test_text.strip().splitlines()) > 1):
        lines = texts.get(place_match[1], "").splitlines()
        test_text = "\n".join(lines[int(place_match[2]) - 1 : int(place_match[3] or place_match[2])]) or test_text
    return f"{ending.at} ({one_line(test_text, _NAME_CHARACTERS)})"


def _how(ending: Ending, limits: Limits, code: str) -> str:
    """How a run failed, in words.

    Args:
      ending: of the run. limits: of the run. code: the candidate's text, for the line that failed.
    """
    match ending.words:
        case ("time", line):
            limit = f"{limits.cpu_s} s of processor time" if ending.out_of_cpu else f"{limits.wall_s:g} s"
            return f"no end within {limit}{_quoted_line(line, code)}"
        case ("values", kind, message, _, _, operator, expected, actual):
            return _comparison(kind, message, operator, expected, actual)
        case ("error", kind, message, line, _):
            text = f"{kind}: {one_line(message, _MESSAGE_CHARACTERS)}" if message else kind
            return f"{text}{_quoted_line(line, code)}"
        case ("garbled",):
            return "it answered with what is no value"
        case ("full",):
            return "it wrote too many or too large files"
        case ("missing",):
            return "it defines no such function"
    # It ended without a word: by a signal, or as it wished.
    if ending.status < 0:
        try:
            return f"left early, status {ending.status} ({signal.Signals(-ending.status).name})"
        except ValueError:
            pass
    return f"left early, status {ending.status}"


def _comparison(kind: str, message: str, operator: str, expected: str, actual: str) -> str:
    """How a comparison of a test failed.

    Args:
      kind: of the error. message: of the error.
      operator: as Python writes it, or "true" or "false" for a test of one value.
      expected, actual: both sides as short text.
    """
    error_prefix = f"{kind}: {one_line(message, _MESSAGE_CHARACTERS)}; " if message else ""
    if operator == "==":
        return error_prefix + difference(expected, actual)
    actual_text = shorten(actual, _VALUE_CHARACTERS)
    if operator in ("true", "false"):
        return f"{error_prefix}expected a {operator} value, got {actual_text}"
    return f"{error_prefix}{actual_text} {operator} {shorten(expected, _VALUE_CHARACTERS)} does not hold"


def _quoted_line(line: str, code: str) -> str:
    """A line of the candidate with its text, in brackets; "" if `line` is no number."""
    if not line.isdecimal():
        return ""
    lines = code.splitlines()
    number = int(line)
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return f" (line {number}: {one_line(text, _LINE_CHARACTERS)})" if text else f" (line {number})"
