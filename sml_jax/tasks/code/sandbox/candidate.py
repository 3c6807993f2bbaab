"""The program of the process that runs the code judged. Part of the bare process.

What it writes to its own pipe are claims: the reader takes them for a failure's words and never for a verdict, and a
returned value is compared outside.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import builtins
import os
import resource
import sys
from typing import Any

from sml_jax.tasks.code.sandbox import asserts, peer

_brief = asserts.brief
# Bound here: the code judged may change what the names mean.
_anything, _build, _leave, _run, _text, _type = BaseException, compile, os._exit, exec, str, type
_write, _len, _set_limit = os.write, len, resource.setrlimit


def main(request: dict[str, Any], claims: int, reading: int, writing: int) -> None:
    """Runs the setup and the code, and then what the mode asks for."""
    _open_up(request["paths"])
    say = speaker(claims)
    name = request["candidate"]
    peer.line_of = lambda error: _line(error, name)

    def out_of_time(_: int, frame: Any) -> None:
        while frame is not None and frame.f_code.co_filename != name:
            frame = frame.f_back
        say("end", "time", str(frame.f_lineno) if frame else "")
        _leave(1)

    _signal.signal(_signal.SIGXCPU, out_of_time)
    whole = request["mode"] == "io"
    module = _type(sys)("__main__" if whole else "solution")  # a real module, for dataclasses and pickle
    sys.modules[module.__name__] = module
    space = module.__dict__
    classes: dict[str, type] = {}
    for part, source in request["parts"]:
        say("at", part)
        try:
            _run(_build(source, part, "exec", 0, True), space)
        except _anything as error:
            if whole and isinstance(error, SystemExit):
                break
            say("end", *_failure(error, name))
            _leave(1)
        if part != name:
            classes = own_classes(space)
            before = dict(space)
    if whole:
        say("done")
        return  # Python ends as after any program: it joins threads, runs exit handlers, flushes the output
    say("at", "")
    if request["mode"] == "calls":
        _call(request, space, say)
        say("end", "passed")
        _leave(0)
    end = _Served(reading, writing, classes, space, before)
    try:  # noqa: SIM105 - contextlib costs milliseconds
        end.serve()
    except _anything:
        pass
    _leave(0)


def own_classes(space: dict[str, Any]) -> dict[str, type]:
    """The classes that a module's own text made, whose objects can be rebuilt from their attributes."""
    return {
        value.__name__: value
        for value in list(space.values())
        if type(value) is type
        and value.__module__ == space.get("__name__")
        and not issubclass(value, BaseException)
        and value.__mro__[-1] is object
        and all(one.__module__ == value.__module__ for one in value.__mro__[:-1])
    }


class _Served(peer.Peer):
    """The candidate's end."""

    def __init__(
        self, reading: int, writing: int, classes: dict[str, type], space: dict[str, Any], before: dict[str, Any]
    ) -> None:
        super().__init__(reading, writing, classes, False)
        self._space = space
        self._names = {n for n, v in space.items() if n not in before or before[n] is not v}
        # An object of a class that the code wrote again after the setup travels as the setup's own.
        self.twins = {n for n in classes if n in self._names and isinstance(space[n], type)}

    def _perform(self, op: str, rest: tuple[Any, ...]) -> Any:
        if op == "names":
            return [name for name in self._space if name in self._names]
        if op == "global":
            return self._space[rest[0]]
        return super()._perform(op, rest)


def _open_up(paths: list[str]) -> None:
    """What `site` would have done, without its cost."""
    import _sitebuiltins

    sys.argv = ["solution.py"]
    sys.path += paths
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))


def speaker(pipe: int) -> Any:
    """A function that writes one line of words in hexadecimal digits."""

    def say(*words: str) -> None:
        line = b" ".join([word.encode("utf-8", "backslashreplace").hex().encode() for word in words]) + b"\n"
        try:
            while line:
                line = line[_write(pipe, line) :]
        except OSError:
            pass

    return say


def _line(error: BaseException, name: str) -> str:
    """The line of the code that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename == name:
        return _text(error.lineno or "")
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = _text(trace.tb_lineno)
        trace = trace.tb_next
    return line


def _failure(error: BaseException, name: str) -> list[str]:
    """["error", its type, its message, the code's line, ""]."""
    try:
        message = _text(getattr(error, "msg", "") if isinstance(error, SyntaxError) else error)[:300]
    except _anything:
        message = ""
    return ["error", _type(error).__name__[:100], message, _line(error, name), ""]


def _call(request: dict[str, Any], space: dict[str, Any], say: Any) -> None:
    """Calls the entry point for each case; what came back goes to the reader, who alone knows what is expected."""
    from json import dumps, loads

    entry, name = request["entry"], request["candidate"]
    for arguments in request["calls"]:
        try:
            used = resource.getrusage(resource.RUSAGE_SELF)
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            most = int(used.ru_utime + used.ru_stime + 0.999) + request["cpu_s"]  # the limit knows whole seconds only
            _set_limit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
            holder = space.get("Solution")
            if holder is not None and hasattr(holder, entry):
                target = getattr(holder(), entry)
            elif entry in space:
                target = space[entry]
            else:
                say("end", "missing")
                _leave(1)
            got = target(*loads(arguments))
            plain = _plain(got)
            text = dumps(plain[0]) if plain else ""
            fits = 0 < _len(text) <= request["value_bytes"]
            say("value", "json" if fits else "other", text if fits else "", _brief(got))
        except _anything as error:
            say("end", *_failure(error, name))
            _leave(1)


def _plain(value: Any) -> list[Any]:
    """[the value as JSON can hold it], tuples as lists and array values as numbers; [] where it cannot."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return [value]
    if kind in (list, tuple):
        items = [_plain(item) for item in value]
        return [[item[0] for item in items]] if all(items) else []
    if kind is dict:
        pairs = [(key, _plain(item)) for key, item in value.items()]
        return [{key: item[0] for key, item in pairs}] if all(type(k) is str and p for k, p in pairs) else []
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    # Subclasses, such as defaultdict and IntEnum.
    bases: tuple[Any, ...] = (dict, list, tuple, str, int, float)
    for base in bases:
        if isinstance(value, base):
            return _plain(base(value))
    return []
