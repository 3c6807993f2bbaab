"""What a coding problem's reference program and tests say about the function that is asked for."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence

_FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def unfence(answer: str) -> str:
    """The program in an answer: its fenced blocks, joined; all of it where there are none."""
    blocks = _FENCE.findall(answer)
    return "\n".join(block.strip("\n") for block in blocks) if blocks else answer.strip("\n")


def entry_of(code: str, tests: Sequence[str]) -> str:
    """The name of the function that the tests call, "" where it cannot be told.

    Args:
      code: a program that passes. tests: Python text each.
    """
    # Functions of the program, in order, whose names the tests use.
    defined = [node.name for node in _functions(code)]
    called = {node.id for test in tests for node in ast.walk(_parse(test)) if isinstance(node, ast.Name)}
    tested = [name for name in defined if name in called]
    # The last one: helpers come before what uses them.
    return tested[-1] if tested else ""


def signature_of(code: str, name: str) -> str:
    """The line `def name(...):` of a function of the program, "" where it has none."""
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
