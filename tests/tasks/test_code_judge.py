"""What a message can make the judge do: every kind of message is sent against every kind of object."""

from __future__ import annotations

import contextlib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from handed_over import CALLABLE, CAUGHT, CLASSES, ITERATORS, NAMES, OBJECTS, OTHERS, READABLE
from watched_judge import (
    WATCH,
    Garbled,
    Handed,
    LoneEnd,
    Number,
    Own,
    Reader,
    Sent,
    Writer,
    forged,
    requests,
    value_types,
)


@pytest.fixture
def handed() -> Iterator[Handed]:
    ready = Handed()
    yield ready
    ready.close()


def test_everything_is_handed_over_but_what_python_itself_has(handed: Handed) -> None:
    # What has a name in a module of Python goes as that name, and data as data.
    by_name = {"dict_class"} - set(handed.numbers)
    assert by_name == set()
    assert {*CALLABLE, *ITERATORS, *OBJECTS, *CLASSES, *OTHERS} <= set(handed.numbers)
    encode = handed.end.encode
    for value in (os, os.system, exec, open, subprocess_class(), str.upper, type, sys.stdout.__class__, os.path.join):
        tag, payload = encode(Writer(encode, {}, set()), value)
        assert tag == b"k" and b" " in payload, value


def subprocess_class() -> type:
    import subprocess

    return subprocess.Popen


def test_what_has_no_name_and_is_no_test_s_is_not_handed_over(handed: Handed) -> None:
    hidden_class = type("hidden", (), {"__module__": "os"})
    with pytest.raises(TypeError, match="no name"):
        handed.end.encode(Writer(handed.end.encode, {}, set()), hidden_class)
    with pytest.raises(TypeError, match="no name"):
        handed.end.encode(Writer(handed.end.encode, {}, set()), types.ModuleType("os"))


def test_an_attribute_is_read_only_where_a_test_s_class_shows_it(handed: Handed) -> None:
    for target, number in handed.numbers.items():
        readable = READABLE.get(target, set())
        for name in NAMES:
            status, value = handed.ask("get", Number(number), name)
            is_expected = name in readable or (target in CAUGHT and name.isidentifier() and not name.startswith("_"))
            assert (status == "ok") == is_expected, (target, name, value)
            if status == "no":
                assert value.kind == "AttributeError", (target, name)


def test_what_is_read_or_returned_lends_nothing_of_python_s(handed: Handed) -> None:
    for target, names in READABLE.items():
        for name in names:
            _, value = handed.ask("get", Number(handed.numbers[target]), name)
            if isinstance(value, Sent) and value.tag != b"E":
                assert value.tag in (b"k", b"h", b"y"), (target, name)
    assert handed.ask("get", Number(handed.numbers["plain_object"]), "exit")[1].payload == b"posix _exit"
    assert handed.ask("get", Number(handed.numbers["plain_object"]), "module")[1].payload == b"os "
    lent_classes = [value for value in handed.end.lent if isinstance(value, type)]
    assert lent_classes and all(value.__module__ == "tests" for value in lent_classes)
    assert not any(isinstance(value, types.ModuleType) for value in handed.end.lent)
    named = [value for value in handed.end.lent if isinstance(value, types.FunctionType)]
    assert named and all(value.__globals__ is handed.space for value in named)


def test_an_attribute_is_set_only_on_objects_and_never_over_a_method(handed: Handed) -> None:
    for target, number in handed.numbers.items():
        for name in NAMES:
            status, _ = handed.ask("set", Number(number), name, 5)
            is_public = bool(name) and not name.startswith("_")
            held = [base.__dict__[name] for base in type(handed.space[target]).__mro__ if name in base.__dict__]
            is_method = bool(held) and callable(held[0])
            if target not in OBJECTS or not is_public or is_method:
                assert status == "no", (target, name)
    assert handed.space["plain_object"].n == 5 and handed.space["plain_object"].method() == "method"
    assert not hasattr(handed.space["plain_class"], "n")


def test_only_what_can_be_called_is_called(handed: Handed) -> None:
    for target, number in handed.numbers.items():
        for arguments, named in (((), {}), ((1, Own()), {}), (5, {}), ((), 5), ((Number(number),), {})):
            can_be = target in CALLABLE | CLASSES | {"error_class"}
            status, value = handed.ask("call", Number(number), arguments, named, calls=can_be)
            if type(arguments) is not tuple or type(named) is not dict:
                assert status == "no" and value.kind == "TypeError", target
            elif target in ("function", "closure", "bound_method", "callable_object"):
                assert status == "ok" and value in ("called", "method"), (target, value)
            elif not can_be:
                assert status == "no" and value.kind == "TypeError", (target, value)


def test_only_iterators_give_items(handed: Handed) -> None:
    for target, number in handed.numbers.items():
        status, value = handed.ask("next", Number(number), calls=target in ITERATORS)
        assert (status == "ok") == (target in ITERATORS), (target, value)
        assert target in ITERATORS or value.kind == "TypeError"


def test_content_is_read_of_data_alone(handed: Handed) -> None:
    for target, number in handed.numbers.items():
        status, value = handed.ask("plain", Number(number))
        assert (status == "ok") == (target in ("dict_object", "tuple_object")), (target, value)


def test_operators_are_those_of_the_tests_classes(handed: Handed) -> None:
    described = {"str", "repr", "hash", "bool", "eq", "ne"}
    allowed = {
        "plain_object": {"add", "iadd", "len", "enter", "exit"},
        "dict_object": {"len", "iter", "getitem", "setitem", "delitem", "contains", "or_", "ior", "reversed"},
        "tuple_object": {"len", "iter", "getitem", "contains", "add", "iadd", "mul", "imul", "lt", "le", "gt", "ge"},
        "enum_class": {"len", "iter", "getitem", "contains", "reversed"},
    }
    for target, number in handed.numbers.items():
        for op in requests.OPERATORS:
            for operands in ((Number(number), 1), (1, Number(number))):
                status, value = handed.ask(op, *operands, calls=op in described | {"format"})
                if status == "ok" and op not in described | {"format"}:
                    assert op in allowed.get(target, set()), (target, op, operands, value)


def test_nothing_but_what_was_handed_over_is_a_target(handed: Handed) -> None:
    data = [None, 1, "exec", b"a", [1], {"a": 1}, (1,), int, list, bytearray, ValueError, range(3), Own(), Exception]
    for target in data:
        for op in [*requests.REQUESTS, *requests.OPERATORS]:
            for operands in ((target,), (target, (1,), {})):
                status, value = handed.ask(op, *operands)
                assert status == "no" and value.kind == "TypeError", (op, operands)


@pytest.mark.parametrize(
    "op",
    [
        *("", "del", "run", "copy", "names", "global", "issubclass", "getattr", "attrgetter", "methodcaller", "exec"),
        *("eval", "__import__", "system", "perform", "answer", "divmod", "pow", "dir", "call\0", "CALL", "__call__"),
    ],
)
def test_other_requests_are_refused(op: str, handed: Handed) -> None:
    for number in handed.numbers.values():
        status, value = handed.ask(op, Number(number), "n")
        assert (status == "no" and value.kind == "TypeError") or op == "pow", op


def test_numbers_of_nothing_are_no_message(handed: Handed) -> None:
    for number in (-1, -5, len(handed.end.lent), 10**9, id(os)):
        with pytest.raises(Garbled):
            handed.end.answer(forged(("call", Number(number), (), {}))[0])


def node(tag: bytes, payload: bytes, origin: int = -1) -> bytes:
    return b"%s%d %d:" % (tag, origin, len(payload)) + payload


NAMED = [
    *(
        b"os.system",
        b"builtins.exec",
        b"builtins.eval",
        b"builtins.type",
        b"builtins.object",
        b"subprocess.Popen",
        b"os ",
    ),
    *(b"posix system", b"builtins exec", b"operator attrgetter", b"tests.plain_class", b"solution.x", b"io.FileIO"),
    *(
        b"builtins.__import__",
        b"decimal.getcontext",
        b"collections.abc",
        b"json.dumps",
        b"pathlib.Path.home",
        b"functools.partial",
    ),
]


def test_a_name_outside_the_closed_list_is_no_message(handed: Handed) -> None:
    """Every tag there is, with every name: as a type, a value, a container, an object of the setup and an error."""
    for tag in [bytes([number]) for number in range(256)]:
        for name in NAMED:
            endings = (b"", b" ", b" -", b" - 0", b" 0") if tag in b"=NBifsbxTtzvwlIDdeamonyhEkp" else (b"",)
            for payload in [name + ending for ending in endings]:
                data = b"1\n" + node(b"s", name) + node(tag, payload)
                for step in (
                    lambda data=data: handed.end.answer(data),
                    lambda data=data: Reader(handed.end.decode, [], {}).value(data),
                ):
                    try:
                        value = WATCH.watch(step)
                    except Garbled:
                        value = None
                    assert handed.unexpected() == [], (tag, payload, handed.unexpected())
                    assert value is None or value is NotImplemented or type(value) in PLAIN, (tag, payload, value)


PLAIN = (bytes, str, bytearray, tuple, int, float, dict, set, frozenset, bool, list)


def test_the_closed_list_of_types_holds_no_type_that_acts() -> None:
    for name in [*value_types.VALUES, *value_types.CONTAINERS, *value_types.BUILTIN_TYPES]:
        full_name = name if "." in name else f"builtins.{name}"
        kind = value_types.type_named(full_name, True)
        assert kind is not None and kind not in (type, object), name
    assert value_types.type_named("os.system", True) is None
    assert value_types.type_named("builtins.type", True) is None


nodes = st.tuples(
    st.sampled_from([bytes([number]) for number in b"NBifsbxTtzvwlIDdeamonyhEko="]),
    st.one_of(
        st.sampled_from([b"", b"0", b"0 1", b"1 0 2", b"-1", b"call", b"get", b"__class__", *NAMED]),
        st.sampled_from([b"collections.Counter - 0 1", b"collections.deque -1 0", b"decimal.Decimal 0", b"keys 0 1"]),
        st.sampled_from(
            [
                b"7\0object\0A\0\0",
                b"7\0exception\0A\0OSError\0007\2A",
                b"7\0class\0A\0os.system\0",
                b"<i4 2 0\n" + bytes(8),
            ]
        ),
        st.binary(max_size=8),
    ),
    st.integers(-2, 2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(nodes, max_size=6), st.integers(-1, 6))
def test_any_bytes_are_answered_or_are_no_message(parts: list[tuple[bytes, bytes, int]], root: int) -> None:
    end = LoneEnd()
    end.lend_number(SHARED)
    data = b"%d\n" % root + b"".join(node(tag, payload, origin) for tag, payload, origin in parts)
    with contextlib.suppress(Garbled):
        assert type(WATCH.watch(lambda: end.answer(data))) is bytes
    assert SHARED == ["unchanged"]


SHARED = ["unchanged"]
