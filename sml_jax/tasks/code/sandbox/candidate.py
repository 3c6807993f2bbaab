"""The program of the process that runs the candidate: the code that is judged. Part of the bare process.

What it writes to its own pipe are claims: the monitor takes them for a failure's words and never for a verdict, and a
returned value is compared outside.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import resource
import sys
from typing import Any

from sml_jax.tasks.code.sandbox import asserts, bare, candidate_end

# Bound here: the candidate may change what the names mean.
_short_repr = asserts.short_repr
_anything, _compile, _exit, _exec, _text, _type = BaseException, compile, os._exit, exec, str, type
_len, _set_limit = len, resource.setrlimit


def main(request: dict[str, Any], claims: int, reading: int, writing: int) -> None:
    """Runs the setup and the candidate's code in this process, and then what the mode asks for.

    With mode "tests" it answers the judge, with "calls" it calls a function; both end this process. With "io" it
    returns when the code has ended, and Python exits as after any program.

    Args:
      request: the dictionary that `runner` sends to the launcher.
      claims: number of the open file for reports to the monitor.
      reading, writing: numbers of the open files of the wire: the pipes from and to the judge.
    """
    bare.prepare_interpreter(request["paths"])
    claim = bare.reporter(claims)
    candidate_name = request["candidate"]

    def out_of_time(_: int, frame: Any) -> None:
        # The innermost line of the candidate's own code that is running.
        while frame is not None and frame.f_code.co_filename != candidate_name:
            frame = frame.f_back
        claim("end", "time", str(frame.f_lineno) if frame else "")
        _exit(1)

    _signal.signal(_signal.SIGXCPU, out_of_time)

    # The setup and the candidate share one namespace: a real module, for dataclasses and pickle.
    is_main_program = request["mode"] == "io"
    module = _type(sys)("__main__" if is_main_program else "solution")
    sys.modules[module.__name__] = module
    namespace = module.__dict__
    setup_classes: dict[str, type] = {}
    shared_classes: dict[str, type] = {}
    for part_name, source in request["parts"]:
        claim("at", part_name)
        try:
            _exec(_compile(source, part_name, "exec", 0, True), namespace)
        except _anything as error:
            if is_main_program and isinstance(error, SystemExit):
                break
            claim("end", *_failure(error, candidate_name))
            _exit(1)
        if part_name != candidate_name:
            setup_classes = bare.own_classes(namespace)
            shared_classes = bare.shared_classes(namespace)
            after_setup = dict(namespace)

    if is_main_program:
        claim("done")
        return  # Python ends as after any program: it joins threads, runs exit handlers, flushes the output
    claim("at", "")
    if request["mode"] == "calls":
        _call_entry(request, namespace, claim)
        claim("end", "passed")
        _exit(0)
    # With tests, this process only answers the judge from now on.
    wire_end = candidate_end.CandidateEnd(
        reading, writing, setup_classes, namespace, after_setup, lambda error: _line(error, candidate_name)
    )
    wire_end.shared = shared_classes
    try:  # noqa: SIM105 - contextlib costs milliseconds
        wire_end.serve()
    except _anything:
        pass
    _exit(0)


def _line(error: BaseException, name: str) -> str:
    """The line of the candidate's code that an error comes from, as text; "" for none."""
    if isinstance(error, SyntaxError) and error.filename == name:
        return _text(error.lineno or "")
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = _text(trace.tb_lineno)
        trace = trace.tb_next
    return line


def _failure(error: BaseException, name: str) -> list[str]:
    """The words that report an error: "error", its type, its message, the line of the candidate's code, ""."""
    try:
        message = _text(getattr(error, "msg", "") if isinstance(error, SyntaxError) else error)[:300]
    except _anything:
        message = ""
    return ["error", _type(error).__name__[:100], message, _line(error, name), ""]


def _call_entry(request: dict[str, Any], namespace: dict[str, Any], claim: Any) -> None:
    """Calls the function for each case. What it returns goes to the monitor, which alone knows what is expected."""
    from json import dumps, loads

    entry, name = request["entry"], request["candidate"]
    for arguments in request["calls"]:
        try:
            # Each call has the processor's time for itself. The limit knows whole seconds only.
            usage = resource.getrusage(resource.RUSAGE_SELF)
            hard_limit = resource.getrlimit(resource.RLIMIT_CPU)[1]
            soft_limit = int(usage.ru_utime + usage.ru_stime + 0.999) + request["cpu_s"]
            _set_limit(
                resource.RLIMIT_CPU,
                (soft_limit if hard_limit == resource.RLIM_INFINITY else min(soft_limit, hard_limit), hard_limit),
            )
            # The function may be a method of `class Solution`, as contest sites have it: a new instance for each call.
            solution = namespace.get("Solution")
            if solution is not None and hasattr(solution, entry):
                function = getattr(solution(), entry)
            elif entry in namespace:
                function = namespace[entry]
            else:
                claim("end", "missing")
                _exit(1)
            returned = function(*loads(arguments))
            json_value = _as_json_value(returned)
            json_text = dumps(json_value[0]) if json_value else ""
            fits_in_report = 0 < _len(json_text) <= request["value_bytes"]
            claim(
                "value",
                "json" if fits_in_report else "other",
                json_text if fits_in_report else "",
                _short_repr(returned),
            )
        except _anything as error:
            claim("end", *_failure(error, name))
            _exit(1)


def _as_json_value(value: Any) -> list[Any]:
    """[the value, made of JSON's types, with tuples as lists and arrays as numbers]; [] if JSON cannot hold it."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return [value]
    if kind in (list, tuple):
        items = [_as_json_value(item) for item in value]
        return [[item[0] for item in items]] if all(items) else []
    if kind is dict:
        pairs = [(key, _as_json_value(item)) for key, item in value.items()]
        return [{key: item[0] for key, item in pairs}] if all(type(k) is str and p for k, p in pairs) else []
    if hasattr(value, "tolist"):  # arrays of numpy, and their items
        return _as_json_value(value.tolist())
    # Subclasses, such as defaultdict and IntEnum.
    bases: tuple[Any, ...] = (dict, list, tuple, str, int, float)
    for base in bases:
        if isinstance(value, base):
            return _as_json_value(base(value))
    return []
