"""A judge to whose messages a test listens: forged requests to it, and a watch on what runs meanwhile."""

from __future__ import annotations

import enum
import gc
import importlib
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from handed_over import TESTS_TEXT

from sml_jax.tasks.code.sandbox import runner


def bare_modules() -> dict[str, types.ModuleType]:
    """The bare process's modules by name, compiled as for that process and so without checks of types."""
    ours = {name: module for name, module in sys.modules.items() if name == "sml_jax" or name.startswith("sml_jax.")}
    for name in ours:
        del sys.modules[name]
    try:
        above = types.ModuleType("sml_jax")
        for name in ("sml_jax", "sml_jax.tasks", "sml_jax.tasks.code", "sml_jax.tasks.code.sandbox"):
            sys.modules[name] = above = types.ModuleType(name)
            above.__path__ = []
        modules = {}
        for name, code in runner._modules():
            modules[name] = sys.modules[f"{above.__name__}.{name}"] = types.ModuleType(f"{above.__name__}.{name}")
            setattr(above, name, modules[name])
            exec(code, modules[name].__dict__)
        return modules
    finally:
        for name in [name for name in sys.modules if name == "sml_jax" or name.startswith("sml_jax.")]:
            del sys.modules[name]
        sys.modules.update(ours)


BARE = bare_modules()
JudgeEnd, requests, value_types = BARE["judge_end"].JudgeEnd, BARE["requests"], BARE["value_types"]
Writer, Garbled, Reader = BARE["wire"].Writer, BARE["wire"].Garbled, BARE["wire_reader"].Reader


class Watch:
    """Sees, while it is on, which functions run and what Python reports to audit hooks."""

    def __init__(self) -> None:
        self.on = False
        self.functions: set[str] = set()
        self.events: set[str] = set()

    def profile(self, frame: types.FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.functions.add(frame.f_code.co_filename)
        elif event == "c_call":
            self.functions.add(f"builtin {getattr(argument, '__qualname__', argument)}")

    def audit(self, event: str, arguments: Any) -> None:
        if self.on and arguments[1:] != ("f_code",):  # which `profile` reads
            self.events.add(event)

    def watch(self, step: Callable[[], Any]) -> Any:
        self.functions, self.events, self.on = set(), set(), True
        before = sys.getprofile()
        gc.disable()  # collecting runs functions of others
        sys.setprofile(self.profile)
        self.events.clear()
        try:
            return step()
        finally:
            self.on = False
            sys.setprofile(before)
            gc.enable()


# Reading a value loads the module of its type, which the closed list names: these are loaded already here.
for _name in [*value_types.VALUES, *value_types.CONTAINERS]:
    value_types.type_named(_name, True)
importlib.import_module("numpy")
WATCH = Watch()
sys.addaudithook(WATCH.audit)
# Functions that no message may reach, whatever it says.
FORBIDDEN_BUILTINS = {
    *(
        "exec",
        "eval",
        "compile",
        "__import__",
        "open",
        "input",
        "breakpoint",
        "globals",
        "locals",
        "system",
        "_exit",
    ),
    *("write", "fork", "kill", "execv", "posix_spawn", "_getframe", "Popen", "fork_exec", "load", "loads"),
}


class LoneEnd(JudgeEnd):
    """The judge's end of a wire that nobody is at the other end of."""

    def __init__(self) -> None:
        super().__init__(-1, -1)

    def ask(self, *request: Any) -> Any:
        raise TypeError("nobody answers")


class Handed:
    """A judge's end of the wire after a test handed over one of everything.

    Attributes:
      end: the end. space: the test's names. numbers: of the objects, by their names.
    """

    def __init__(self) -> None:
        self.end = LoneEnd()
        module = types.ModuleType("tests")
        exec(compile(TESTS_TEXT, "the test", "exec"), module.__dict__)
        self.space = module.__dict__
        self.numbers: dict[str, int] = {}
        for name, value in list(self.space.items()):
            if name.startswith("_") or isinstance(value, types.ModuleType):
                continue
            tag, payload = self.end.encode(Writer(self.end.encode, {}, set()), value)
            if tag == b"h":
                self.numbers[name] = int(payload.split(b"\0")[0])

    def close(self) -> None:
        self.space["stream"].close()

    def ask(self, op: str, *operands: Any, calls: bool = False) -> tuple[str, Any]:
        """What comes back for a request: ("ok", value) or ("no", error).

        It fails where anything runs that neither the sandbox nor the test's text has, unless `calls` allows it: then
        the request may reach what was handed over, such as a mock.
        """
        request, sent = forged((op, *operands))
        data = WATCH.watch(lambda: self.end.answer(request))
        assert calls or self.unexpected() == [], (op, operands, self.unexpected())
        answer = Reader(lambda tag, payload, values: Sent(tag, payload, values), sent, {}).value(data)
        return answer[0], answer[1]

    def unexpected(self) -> list[str]:
        """What ran meanwhile that neither the sandbox nor the test's text has."""
        files = {word for word in WATCH.functions if not word.startswith("builtin ")}
        known = ("the judge's", "the test", enum.__file__, warnings.__file__)
        odd = [word for word in files if word not in known and "tests/tasks" not in word]
        odd += [
            word for word in WATCH.functions if word.removeprefix("builtin ").rpartition(".")[2] in FORBIDDEN_BUILTINS
        ]
        return odd + sorted(WATCH.events - {"builtins.id"})


class Sent:
    """A node of an answer that is no data."""

    def __init__(self, tag: bytes, payload: bytes, values: list[Any]) -> None:
        self.tag, self.payload = tag, payload
        self.kind = values[int(payload.split()[0])] if tag == b"E" else ""


class Number:
    """Stands in a forged message for the object with this number."""

    def __init__(self, number: int) -> None:
        self.number = number


class Own:
    """Stands in a forged message for an object of the candidate's."""


def forged(request: Any) -> tuple[bytes, list[Any]]:
    """The bytes of a message, in which `Number` and `Own` may stand, and its mutable objects."""

    def encode(_: Writer, value: Any) -> tuple[bytes, bytes]:
        if isinstance(value, Number):
            return b"y", b"%d" % value.number
        assert isinstance(value, Own)
        return b"h", b"\0".join([b"7", b"object", b"Own", b"", b""])

    writer = Writer(encode, {}, set())
    return writer.message(request), writer.sent
