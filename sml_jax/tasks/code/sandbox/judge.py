"""The program of the process that runs the tests. Part of the bare process.

It alone knows the tests and writes the report. A name of a test is the judge's own where the test or the setup defines
it or Python does, and else the candidate's.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import builtins
import os
import sys
from typing import Any

from sml_jax.tasks.code.sandbox import asserts, candidate, peer, proxies, wire

_AST_ONLY = 0x0400  # ast.PyCF_ONLY_AST; importing ast takes as long as starting Python


def main(request: dict[str, Any], tests: list[tuple[str, str]], report: int, reading: int, writing: int) -> None:
    """Runs the tests and reports the first that fails."""
    candidate._open_up(request["paths"])
    say = candidate.speaker(report)

    def out_of_time(_: int, frame: Any) -> None:
        say("end", "time", "")
        os._exit(1)

    _signal.signal(_signal.SIGXCPU, out_of_time)
    module = type(sys)("tests")
    sys.modules["tests"] = module
    setup = type(sys)("solution")
    sys.modules["solution"] = setup
    end = _Judge(reading, writing, say)
    names = set(end.ask("names"))  # comes when the code has run
    for part, source in request["parts"][:-1]:
        try:
            exec(compile(source, part, "exec", 0, True), setup.__dict__)
        except BaseException as error:
            say("at", part)
            say("end", "error", type(error).__name__[:100], str(error)[:300], "", "")
            os._exit(1)
    end.classes = candidate.own_classes(setup.__dict__)
    watched: dict[str, list[Any]] = {}  # by test: one may define what another calls
    codes: list[Any] = []
    for name, source in tests:
        try:
            tree = compile(source, name, "exec", _AST_ONLY, True)
            wanted = _called(tree)
            watched[name] = asserts.watch(tree)
            codes.append((name, compile(tree, name, "exec", 0, True), wanted))
        except BaseException as error:
            codes.append((name, error, None))
    shadowing = {request["entry"]} if request["entry"] else entry_of([c[2] for c in codes if c[2]], setup.__dict__)
    space = Space(end, names, setup.__dict__, shadowing)
    end.space = space
    for name, code, _ in codes:
        say("at", name)
        try:
            if isinstance(code, BaseException):
                raise code
            exec(code, space)
        except BaseException as error:
            spot, values = asserts.compared(error, watched)
            try:
                message = str(getattr(error, "msg", "") if isinstance(error, SyntaxError) else error)[:300]
            except BaseException:
                message = ""
            kind = type(error).__name__[:100]
            line = str(getattr(error, "_far_line_", ""))
            if values:
                say("end", "values", kind, message, "", spot, *values)
            else:
                say("end", "error", kind, message, line, spot)
            os._exit(1)
    say("end", "passed")
    os._exit(0)


class Space(dict):
    """The names of the tests. Lookups go through `__getitem__`, since it is no plain `dict`."""

    def __init__(self, end: Any, names: set[str], setup: dict[str, Any], shadowing: set[str]) -> None:
        super().__init__(__builtins__=builtins, __name__="tests")
        self._end, self._setup = end, setup
        hidden = {n for n in names if (hasattr(builtins, n) or n in setup) and n not in shadowing}
        self._names = {n for n in names if not n.startswith("__")} - hidden

    def __getitem__(self, name: str) -> Any:
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        if name in self._names:
            if name in peer.OPEN_MODULES or name == "np":
                return __import__("numpy" if name == "np" else name)  # whatever the code calls so
            value = self._end.ask("global", name)
            if isinstance(value, (proxies.FarFunction, type)):
                dict.__setitem__(self, name, value)  # data may change between two looks, functions seldom do
            return value
        if name in self._setup and not name.startswith("__"):
            return self._setup[name]
        raise KeyError(name)


class _Judge(peer.Peer):
    """The judge's end: what cannot be trusted ends the run."""

    def __init__(self, reading: int, writing: int, say: Any) -> None:
        super().__init__(reading, writing, {}, True)
        self._say = say
        self.space: Any = None

    def ask(self, *request: Any) -> Any:
        try:
            return super().ask(*request)
        except peer.Gone:
            self._say("end", "gone")
        except wire.Garbled:
            self._say("end", "garbled")
        except MemoryError as error:
            if hasattr(error, "_far_line_"):  # the code's own
                raise
            self._say("end", "garbled")
        os._exit(1)

    def _perform(self, op: str, rest: tuple[Any, ...]) -> Any:
        """What the candidate may do with objects of the tests: call functions, pull items, use what tests define."""
        if op == "call" or op == "next":
            return super()._perform(op, rest)
        target = rest[0] if rest else None
        kind = target if isinstance(target, type) else type(target)
        if op in ("get", "set") and (kind.__module__ != "tests" or not _open(rest[1])):
            raise AttributeError(f"{rest[1]} of an object of the tests")
        if op in ("get", "set"):
            return super()._perform(op, rest)
        if op in _HARMLESS and any(getattr(type(one), "__module__", "") == "tests" for one in rest):
            return super()._perform(op, rest)
        if op in ("repr", "str", "iter", "len", "eq", "hash", "bool", "getitem"):
            return super()._perform(op, rest)
        raise TypeError(f"{op} of an object of the tests")


_HARMLESS = {
    "len",
    "str",
    "repr",
    "hash",
    "bool",
    "int",
    "float",
    "iter",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "add",
    "sub",
}
_HARMLESS |= {"mul", "truediv", "getitem", "setitem", "contains", "neg", "abs", "index"}


def _open(name: Any) -> bool:
    return type(name) is str and not name.startswith("_") and not name.startswith(("gi_", "cr_", "f_", "tb_", "ag_"))


def _called(tree: Any) -> tuple[set[str], set[str], list[str]]:
    """(names that a test calls or reads, names that it defines, the names it calls from the innermost out)."""
    import _ast

    read: set[str] = set()
    made: set[str] = set()
    calls: list[tuple[int, str]] = []
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, _ast.Name):
            (read if isinstance(node.ctx, _ast.Load) else made).add(node.id)
        elif isinstance(node, (_ast.FunctionDef, _ast.ClassDef, _ast.AsyncFunctionDef)):
            made.add(node.name)
        elif isinstance(node, _ast.arg):
            made.add(node.arg)
        elif isinstance(node, _ast.alias):
            made.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, _ast.Call) and isinstance(node.func, _ast.Name):
            calls.append((-depth, node.func.id))
        for field in node._fields:
            value = getattr(node, field, None)
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, _ast.AST):
                    stack.append((each, depth + 1))
    return read, made, [name for _, name in sorted(calls, key=lambda one: one[0])]


def entry_of(tests: list[tuple[set[str], set[str], list[str]]], setup: dict[str, Any]) -> set[str]:
    """The builtin's name that the tests want of the candidate: there is one only if they name nothing else of it.

    It is found from the tests alone, so that code cannot put itself in the place of a builtin that tests rely on.
    """
    made = set().union(*(one[1] for one in tests)) if tests else set()
    read = set().union(*(one[0] for one in tests)) if tests else set()
    if any(not hasattr(builtins, name) and name not in setup for name in read - made):
        return set()
    for name in tests[0][2] if tests else ():
        if hasattr(builtins, name) and all(name in one[2] for one in tests):
            return {name}
    return set()
