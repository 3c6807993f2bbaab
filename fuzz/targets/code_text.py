"""Programs found in what a student says, what is said about them, and outputs compared."""

from __future__ import annotations

import json
import time

from fuzz.campaign import Target
from fuzz.source import MAX_CHARACTERS, Source, odd_value
from sml_jax.tasks.code.cases import first_difference, same_output, same_value
from sml_jax.tasks.code.detail import difference, failure_hint, one_line, shorten
from sml_jax.tasks.code.extract import extract_code, parse_python
from sml_jax.tasks.datasets.code_text import entry_of, signature_of, unfence

# Fences, lines of programs, and words around them.
WORDS = (
    *("```", "```python\n", "```py\n", "\n```\n", "~~~\n", "````", "```text\n", "``` x = 1 ```\n", "def f(x):\n"),
    *("    return x\n", "return x\n", "def g(a, b=2):\n", "class Solution:\n", "  def f(self):\n", "import os\n"),
    *("from math import *\n", "@cache\n", "x = 1\n", "f(x)\n", "x()\n", "print(x)\n", "if x:\n", "for i in x:\n"),
    *("async def h():\n", "    await x\n", "yield\n", "lambda", "'''", '"""', "#", "\\", "\n", "    ", "\t", "("),
    *(")", "[", "]", "{", "}", ":", "-", "not ", "+1", "f'{", "Here is the code:\n"),
)
# Outputs that are compared as numbers or as text.
_NUMBERS = (
    "1",
    "1.0",
    "01",
    "1e3",
    "1E+999999",
    "-0",
    "0",
    "nan",
    "sNaN",
    "inf",
    "Infinity",
    "1_000",
    "YES",
    " ",
    "\n",
    "\t",
    "\r\n",
)
_ENTRIES = ("", "f", "g", "Solution", "x y", "\x00")
_PREFIXES = ("", "def f(x):\n", 'import os\ndef f(x):\n    """Doc."""\n', "def f(\n", "x = (")


def _check_programs(source: Source) -> None:
    # Any utterance, in time. What is found goes on with the prefix.
    longest = MAX_CHARACTERS if source.flag(6) else 2_000
    utterance = source.pumped(WORDS, longest) if source.flag(4) else source.text(WORDS, 40, longest)
    entry, prefix = source.pick(_ENTRIES), source.pick(_PREFIXES)
    start = time.process_time()
    code = extract_code(utterance, entry, prefix)
    used = time.process_time() - start
    assert code is None or code.startswith(prefix.rstrip()), "the prefix is lost"
    assert used < 3.0 + 5e-5 * len(utterance), f"{used:.1f} s for {len(utterance)} characters"
    # A program that defines f is found in a fenced block.
    program = source.text(WORDS[8:], 20, 500)
    tree = parse_python(program)
    if (
        tree is not None
        and any(getattr(node, "name", "") == "f" for node in tree.body)
        and not set("`~\r") & set(program)
    ):
        extracted = extract_code(f"Here it is.\n```python\n{program.strip(chr(10))}\n```\nDone.", "f")
        assert extracted is not None and parse_python(extracted) is not None, "a fenced program is not found"
    assert isinstance(unfence(utterance), str)
    entry = entry_of(utterance, [program])
    assert isinstance(signature_of(utterance, entry or "f"), str)


def _check_details(source: Source) -> None:
    left, right, most = source.text(WORDS, 10, 3000), source.text(WORDS, 10, 3000), source.integer(3, 400)
    assert len(shorten(left, most)) <= most
    line = one_line(left, most)
    assert len(line) <= most and len(line.splitlines()) < 2
    assert failure_hint(f"{left} failed: {difference(left, right)}") and failure_hint(right)


def _check_outputs(source: Source) -> None:
    """Outputs are compared symmetrically, whatever white space is around them."""
    left, right = source.text(_NUMBERS, 12, 30_000), source.text(_NUMBERS, 12, 30_000)
    assert same_output(left, left), f"{left!r} is not like itself"
    assert same_output(left, right) == same_output(right, left)
    assert same_output(left, f"\n {left} \n")
    at = first_difference(left, right)
    assert at is None or at >= 0
    value, second = odd_value(source), odd_value(source)
    assert isinstance(same_value(value, second), bool)
    assert same_value(value, json.loads(json.dumps(value))) or value != value or "NaN" in json.dumps(value)


def check(source: Source) -> None:
    """One case."""
    source.pick((_check_programs, _check_programs, _check_details, _check_outputs))(source)


def target() -> Target:
    """The text side of the code verifier."""
    return Target("code_text", check, cpu_s=30.0)
