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

from sml_jax.tasks.code.sandbox import asserts, bare, judge_end, name_usage, peer, proxies, proxy_factory, wire

# Modules that a test may use although only the code imported them.
_MODULES = {
    *(
        "math",
        "cmath",
        "collections",
        "itertools",
        "functools",
        "operator",
        "string",
        "re",
        "heapq",
        "bisect",
        "typing",
    ),
    *("datetime", "decimal", "fractions", "random", "statistics", "copy", "numpy", "json", "time", "calendar"),
}
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
    wire_end = _TestsEnd(reading, writing, say)
    names = {name for name in _as_list(wire_end.ask("names")) if type(name) is str}
    for part_name, source in request["parts"][:-1]:
        try:
            exec(compile(source, part_name, "exec", 0, True), setup.__dict__)
        except BaseException as error:
            say("at", part_name)
            say("end", "error", type(error).__name__[:100], str(error)[:300], "", "")
            os._exit(1)
    wire_end.classes = bare.own_classes(setup.__dict__)
    wire_end.shared = bare.shared_classes(setup.__dict__)

    # All tests are compiled before the first runs: together they tell which names they want of the candidate.
    recorded: dict[str, list[Any]] = {}  # by test: one may define what another calls
    compiled: list[tuple[str, Any]] = []
    usages: list[name_usage.Usage] = []
    for name, source in tests:
        try:
            tree = compile(source, name, "exec", _AST_ONLY, True)
            usage = name_usage.usage_of(tree)
            asserts.rename_caught(tree, {stop: f"_any_{stop}_" for stop in proxy_factory.STOPPED})
            recorded[name] = asserts.record_operands(tree)
            compiled.append((name, compile(tree, name, "exec", 0, True)))
            usages.append(usage)
        except BaseException as error:
            compiled.append((name, error))
    shadowing = {request["entry"]} if request["entry"] else name_usage.shadowed_builtin(usages, setup.__dict__)
    namespace = Namespace(wire_end, names, setup.__dict__, shadowing)
    _complete_setup(request["parts"][:-1], names, usages, setup.__dict__, namespace)

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


def _complete_setup(
    parts: list[tuple[str, str]], names: set[str], usages: list[name_usage.Usage], setup: dict[str, Any], namespace: Any
) -> None:
    """Gives the setup the functions, classes and modules of the code that it uses, as if both shared a namespace.

    Args:
      parts: (name, Python text) of the setup. names: all that the code defines.
      usages: the names that each test uses; what a test defines is no name of the code's.
      setup: the setup's namespace, which is changed. namespace: that of the tests.
    """
    missing = names.difference(setup, vars(builtins), *(usage.defined for usage in usages))
    for part_name, source in parts if missing else ():
        usage = name_usage.usage_of(compile(source, part_name, "exec", _AST_ONLY, True))
        for name in sorted(missing & (usage.read - usage.defined)):
            value = namespace[name] if not name.startswith("__") else None
            if isinstance(value, (proxies.RemoteFunction, type, type(sys))):
                setup[name] = value


def _as_list(value: Any) -> list[Any]:
    return value if type(value) is list else []


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
        # What a test catches as StopIteration is Python's own or that of the code.
        for name, stopped in proxy_factory.STOPPED.items():
            self[f"_any_{name}_"] = (getattr(builtins, name), stopped)
        self._end, self._setup = end, setup
        hidden_names = {n for n in names if (hasattr(builtins, n) or n in setup) and n not in shadowing}
        self._names = {n for n in names if not n.startswith("__")} - hidden_names

    def __getitem__(self, name: str) -> Any:
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        if name in self._names:
            # A well-known module is the judge's own, whatever the candidate calls so.
            if name in _MODULES or name == "np":
                return __import__("numpy" if name == "np" else name)
            value = self._end.ask("global", name)
            if isinstance(value, (proxies.RemoteFunction, type)):
                dict.__setitem__(self, name, value)  # data may change between two looks, functions seldom do
            return value
        if name in self._setup and not name.startswith("__"):
            return self._setup[name]
        raise KeyError(name)


class _TestsEnd(judge_end.JudgeEnd):
    """The judge's end of the wire, which ends the run where what comes from the candidate is no message.

    Args:
      reading, writing: open files. say: the function that reports.
    """

    def __init__(self, reading: int, writing: int, say: Any) -> None:
        super().__init__(reading, writing)
        self._say = say

    def ask(self, *request: Any) -> Any:
        """As `JudgeEnd.ask`."""
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
