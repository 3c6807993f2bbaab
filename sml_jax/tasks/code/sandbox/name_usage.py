"""Which names tests use, and whether they want one of them of the candidate although a builtin has it.

Part of the bare process.
"""

from __future__ import annotations

import builtins
from typing import Any


class Usage:
    """The names that one test uses.

    Attributes:
      read: names that it reads or calls.
      defined: names that it defines.
      called: names that it calls, the most deeply nested call first.
    """

    __slots__ = ("called", "defined", "read")

    def __init__(self, read: set[str], defined: set[str], called: list[str]) -> None:
        self.read, self.defined, self.called = read, defined, called


def usage_of(tree: Any) -> Usage:
    """The names that a test uses; `tree` is its syntax tree."""
    import _ast

    read: set[str] = set()
    defined: set[str] = set()
    calls: list[tuple[int, str]] = []  # (depth as a negative number, name)
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, _ast.Name):
            (read if isinstance(node.ctx, _ast.Load) else defined).add(node.id)
        elif isinstance(node, (_ast.FunctionDef, _ast.ClassDef, _ast.AsyncFunctionDef)):
            defined.add(node.name)
        elif isinstance(node, _ast.arg):
            defined.add(node.arg)
        elif isinstance(node, _ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, _ast.Call) and isinstance(node.func, _ast.Name):
            calls.append((-depth, node.func.id))
        for field in node._fields:
            value = getattr(node, field, None)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, _ast.AST):
                    stack.append((child, depth + 1))
    return Usage(read, defined, [name for _, name in sorted(calls, key=lambda call: call[0])])


def shadowed_builtin(usages: list[Usage], setup: dict[str, Any]) -> set[str]:
    """Finds the builtin's name that tests expect the candidate's code to define, such as "sorted".

    There is one only if the tests use no other name that could be the candidate's. The candidate's code is not looked
    at, so it cannot replace a builtin that the tests rely on.

    Args:
      usages: the names that each test uses, of all tests that could be compiled.
      setup: the setup's namespace.

    Returns:
      A set with that name, or an empty set.
    """
    defined = set().union(*(usage.defined for usage in usages))
    read = set().union(*(usage.read for usage in usages))
    # A name that neither Python nor the setup nor a test defines is the candidate's: it is what the tests ask for.
    if any(not hasattr(builtins, name) and name not in setup for name in read - defined):
        return set()
    # Else the innermost call of a builtin's name that all tests share.
    for name in usages[0].called if usages else ():
        if hasattr(builtins, name) and all(name in usage.called for usage in usages):
            return {name}
    return set()
