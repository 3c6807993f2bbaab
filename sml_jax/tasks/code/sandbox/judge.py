"""The program of the process that runs the tests, the judge. Part of the bare process.

It alone knows the tests and writes the report. A name of a test is the judge's own where the test or the setup defines
it or Python does, and else the candidate's.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import builtins
import os
import sys
from typing import Any

from sml_jax.tasks.code.sandbox import asserts, bare, handles, name_usage, peer, proxies, wire

_AST_ONLY = 0x0400  # ast.PyCF_ONLY_AST; importing ast takes as long as starting Python


def main(request: dict[str, Any], tests: list[tuple[str, str]], report: int, reading: int, writing: int) -> None:
    """Runs the tests in this process, reports to the monitor the first that fails or that all passed, and exits.

    Args:
      request: the dictionary that `runner` sends to the launcher.
      tests: (name, Python text) of each test, in order.
      report: number of the open file for reports to the monitor.
      reading, writing: numbers of the open files of the wire: the pipes from and to the candidate.
    """
    bare.prepare_interpreter(request["paths"])
    say = bare.reporter(report)

    def out_of_time(_: int, frame: Any) -> None:
        say("end", "time", "")
        os._exit(1)

    _signal.signal(_signal.SIGXCPU, out_of_time)
    module = type(sys)("tests")
    sys.modules["tests"] = module
    setup = type(sys)("solution")  # as the candidate's process calls it, so that its classes have one name at both ends
    sys.modules["solution"] = setup

    # The candidate answers when its code has run. Only then does the setup run here, too.
    wire_end = _JudgeEnd(reading, writing, say)
    names = set(wire_end.ask("names"))
    for part_name, source in request["parts"][:-1]:
        try:
            exec(compile(source, part_name, "exec", 0, True), setup.__dict__)
        except BaseException as error:
            say("at", part_name)
            say("end", "error", type(error).__name__[:100], str(error)[:300], "", "")
            os._exit(1)
    wire_end.classes = bare.own_classes(setup.__dict__)

    # All tests are compiled before the first runs: together they tell which names they want of the candidate.
    recorded: dict[str, list[Any]] = {}  # by test: one may define what another calls
    compiled: list[tuple[str, Any]] = []
    usages: list[name_usage.Usage] = []
    for name, source in tests:
        try:
            tree = compile(source, name, "exec", _AST_ONLY, True)
            usage = name_usage.usage_of(tree)
            recorded[name] = asserts.record_operands(tree)
            compiled.append((name, compile(tree, name, "exec", 0, True)))
            usages.append(usage)
        except BaseException as error:
            compiled.append((name, error))
    shadowing = {request["entry"]} if request["entry"] else name_usage.shadowed_builtin(usages, setup.__dict__)
    namespace = Namespace(wire_end, names, setup.__dict__, shadowing)

    for name, compiled_test in compiled:
        say("at", name)
        try:
            if isinstance(compiled_test, BaseException):
                raise compiled_test
            exec(compiled_test, namespace)
        except BaseException as error:
            say("end", *_failure(error, recorded))
            os._exit(1)
    say("end", "passed")
    os._exit(0)


def _failure(error: BaseException, recorded: dict[str, list[Any]]) -> list[str]:
    """The words of a failed test: "values" and what an `assert` compared, or "error" and what was raised."""
    place, values = asserts.failed_comparison(error, recorded)
    try:
        message = str(getattr(error, "msg", "") if isinstance(error, SyntaxError) else error)[:300]
    except BaseException:
        message = ""
    kind = type(error).__name__[:100]
    if values:
        return ["values", kind, message, "", place, *values]
    return ["error", kind, message, str(getattr(error, "_remote_line_", "")), place]


class Namespace(dict):
    """The namespace in which the tests run: a name comes from the tests, the candidate's code or the setup.

    It is no plain `dict`, so Python looks names up with `__getitem__`, which asks the candidate's process.

    Args:
      end: the `Peer` with which this process asks the candidate's.
      names: all names that the candidate's code defines.
      setup: the setup's namespace.
      shadowing: those of `names` that are taken from the candidate although a builtin or the setup has the name.
    """

    def __init__(self, end: Any, names: set[str], setup: dict[str, Any], shadowing: set[str]) -> None:
        super().__init__(__builtins__=builtins, __name__="tests")
        self._end, self._setup = end, setup
        hidden_names = {n for n in names if (hasattr(builtins, n) or n in setup) and n not in shadowing}
        self._names = {n for n in names if not n.startswith("__")} - hidden_names

    def __getitem__(self, name: str) -> Any:
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        if name in self._names:
            # A well-known module is the judge's own, whatever the candidate calls so.
            if name in handles.OPEN_MODULES or name == "np":
                return __import__("numpy" if name == "np" else name)
            value = self._end.ask("global", name)
            if isinstance(value, (proxies.RemoteFunction, type)):
                dict.__setitem__(self, name, value)  # data may change between two looks, functions seldom do
            return value
        if name in self._setup and not name.startswith("__"):
            return self._setup[name]
        raise KeyError(name)


class _JudgeEnd(peer.Peer):
    """The judge's end of the wire: what cannot be trusted ends the run."""

    def __init__(self, reading: int, writing: int, say: Any) -> None:
        super().__init__(reading, writing, {}, True)
        self._say = say

    def ask(self, *request: Any) -> Any:
        try:
            return super().ask(*request)
        except peer.Gone:
            self._say("end", "gone")
        except wire.Garbled:
            self._say("end", "garbled")
        except MemoryError as error:
            if hasattr(error, "_remote_line_"):  # the candidate raised it
                raise
            self._say("end", "garbled")
        os._exit(1)

    def _perform(self, op: str, operands: tuple[Any, ...]) -> Any:
        """What the candidate may do with objects of the tests: call functions, pull items, use what tests define."""
        if op == "call" or op == "next":
            return super()._perform(op, operands)
        # Attributes: only public ones, and only of what the tests' own classes made.
        target = operands[0] if operands else None
        kind = target if isinstance(target, type) else type(target)
        if op in ("get", "set") and (kind.__module__ != "tests" or not _is_public(operands[1])):
            raise AttributeError(f"{operands[1]} of an object of the tests")
        if op in ("get", "set"):
            return super()._perform(op, operands)
        # Operators: those of the tests' own classes, and a few that only look.
        if op in _HARMLESS and any(getattr(type(operand), "__module__", "") == "tests" for operand in operands):
            return super()._perform(op, operands)
        if op in ("repr", "str", "iter", "len", "eq", "hash", "bool", "getitem"):
            return super()._perform(op, operands)
        raise TypeError(f"{op} of an object of the tests")


_HARMLESS = {
    *("len", "str", "repr", "hash", "bool", "int", "float", "iter", "eq", "ne", "lt", "le", "gt", "ge", "add", "sub"),
    *("mul", "truediv", "getitem", "setitem", "contains", "neg", "abs", "index"),
}


def _is_public(name: Any) -> bool:
    """Whether an attribute is not one of Python's own, such as a generator's frame."""
    return type(name) is str and not name.startswith("_") and not name.startswith(("gi_", "cr_", "f_", "tb_", "ag_"))
