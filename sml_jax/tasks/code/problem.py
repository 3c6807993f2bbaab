"""A problem whose answer is a program, and the cases that a program is judged by."""

from __future__ import annotations

from dataclasses import dataclass

from sml_jax.tasks.problems.types import Problem


@dataclass(frozen=True)
class IoCase:
    """A test case for a main program: what it reads and what it must print.

    Attributes:
      stdin: the text that it reads on its standard input.
      stdout: the text that it must print, compared by `cases.same_output`.
    """

    stdin: str
    stdout: str


@dataclass(frozen=True)
class CallCase:
    """A test case for a function: a call and what it must return.

    Attributes:
      args: the positional arguments, as JSON text of a list.
      expected: the value that must be returned, as JSON text; a returned tuple counts as a list.
    """

    args: str
    expected: str


Case = IoCase | CallCase


@dataclass(frozen=True)
class CodeProblem(Problem):
    """A problem that asks for Python code. The code is judged by `tests` and then by `cases`; not both may be empty.

    Attributes:
      tests: Python texts. Each raises if the code fails it, and may use the names that the code and `setup` define.
      setup: Python text that runs before the code.
      cases: inputs with the expected outputs.
      entry: name of the function, or method of `class Solution`, that is asked for; "" if a main program is asked for,
        or if only the tests tell the name.
      prefix: the start of the program if the student only completes it (HumanEval's prompt), else "".
    """

    tests: tuple[str, ...] = ()
    setup: str = ""
    cases: tuple[Case, ...] = ()
    entry: str = ""
    prefix: str = ""
