"""What a coding problem's reference program and tests say about the function that is asked for."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence

_FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def unfence(answer: str) -> str:
    """The program in a Markdown text: its fenced Python blocks, joined by newlines, or all of it if there are none."""
    blocks = _FENCE.findall(answer)
    return "\n".join(block.strip("\n") for block in blocks) if blocks else answer.strip("\n")


def entry_of(code: str, tests: Sequence[str]) -> str:
    """The name of the function that tests call; "" if they name no function of the program.

    Args:
      code: a program that passes the tests. If they name several of its functions, the last one counts.
      tests: Python texts.
    """
    # Functions of the program, in order, whose names the tests use.
    defined_names = [node.name for node in _functions(code)]
    names_in_tests = {node.id for test in tests for node in ast.walk(_parse(test)) if isinstance(node, ast.Name)}
    tested_names = [name for name in defined_names if name in names_in_tests]
    # The last one: helpers come before what uses them.
    return tested_names[-1] if tested_names else ""


def signature_of(code: str, name: str) -> str:
    """The line `def name(...):` of a function of a program; "" if the program has no such function.

    Args:
      code: the program.
      name: of the function, at the top of the program.
    """
    for node in reversed(_functions(code)):
        if node.name == name:
            try:
                returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
                return f"def {name}({ast.unparse(node.args)}){returns}:"
            except RecursionError:  # a default of a thousand terms
                return ""
    return ""


def _functions(code: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in _parse(code).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _parse(code: str) -> ast.Module:
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes in other people's strings
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])
