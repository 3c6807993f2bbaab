"""What programs and tests do in one interpreter, they do over the wire between candidate and judge."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from honest_programs import HONEST, OWN_CLASS, REVERSE, SETUP
from honest_values import ERRORS, HANDED_OVER, OPERATORS, VALUES

from sml_jax.tasks import Limits, run_tests
from sml_jax.tasks.code.sandbox.wire import Garbled, Writer
from sml_jax.tasks.code.sandbox.wire_reader import Reader

PATIENT = Limits(wall_s=60.0, cpu_s=20)


@pytest.mark.parametrize(
    "programs",
    [HONEST, OPERATORS, ERRORS, VALUES, HANDED_OVER],
    ids=["programs", "operators", "errors", "values", "handed_over"],
)
def test_honest_programs_pass(programs: list[tuple[str, str, list[str]]]) -> None:
    with ThreadPoolExecutor(2) as pool:
        verdicts = pool.map(lambda row: run_tests(row[1], row[2], limits=PATIENT), programs)
        assert [(row[0], v.detail) for row, v in zip(programs, verdicts, strict=True) if not v.correct] == []


@pytest.mark.parametrize("code", [REVERSE, OWN_CLASS], ids=["the_setup_s_class", "a_class_of_the_same_name"])
def test_objects_of_a_class_of_the_setup_travel_by_value(code: str) -> None:
    tests = [
        "assert rev(build([1, 2, 3])).items() == [3, 2, 1]",
        "assert isinstance(rev(build([1])), ListNode)",
        "h = build(list(range(5000)))\nassert rev(h).items() == list(range(4999, -1, -1))",
    ]
    assert run_tests(code, tests, SETUP, PATIENT).detail == "all 3 tests passed"


def test_the_setup_uses_functions_and_classes_of_the_code() -> None:
    setup = "def twice(x): return f(f(x))\ndef check(x, y):\n    assert A(f(x)).y == y and math.floor(f(x)) == y\n"
    setup += "class Runner:\n    def run(self, x): return f(x)\ndef caught(x):\n    try: f(x); assert False\n"
    setup += "    except Mine: return True\n"
    tests = ["assert twice(3) == 82 and Runner().run(3) == 9", "check(3, 9)"]
    code = "import math\nclass Mine(Exception): pass\nclass A:\n    def __init__(s, y): s.y = y\n"
    code += "def f(x):\n    if x < 0: raise Mine\n    return x * x"
    assert not run_tests(code, tests, setup, PATIENT).correct
    assert run_tests(code, [tests[0].replace("82", "81"), tests[1], "assert caught(-1)"], setup, PATIENT).correct
    # What the setup or Python defines stays theirs, and data of the code is none of the setup's.
    setup = "def same(a, b): return abs(a - b) < 1e-6 and close(a, b)\ndef close(a, b): return a == b\n"
    wrong = "def abs(x): return 0\ndef close(a, b): return True\ndef same(a, b): return True\ndef f(x): return 0"
    assert not run_tests(wrong, ["assert same(f(3), 10)"], setup, PATIENT).correct
    wrong = "LIMIT = 10**9\ndef f(x): return 0"
    assert not run_tests(wrong, ["assert near(f(3), 10)"], "def near(a, b): return abs(a - b) < LIMIT", PATIENT).correct


def test_errors_and_enumerations_of_the_setup_are_the_same_on_both_sides() -> None:
    setup = "import enum\nclass Mistake(Exception):\n    def __init__(s, a, b): s.a = a; super().__init__('bad')\n"
    setup += "class Color(enum.Enum):\n    RED = 1\n    BLUE = 2\nclass Level(enum.IntEnum):\n    LOW = 1\n"
    tests = [
        "try:\n    fail(1, 2)\n    assert False\nexcept Mistake as e:\n    assert e.a == 1 and str(e) == 'bad'",
        "assert other(Color.RED) is Color.BLUE and other(Color.BLUE) == Color.RED",
        "assert first([Color.RED, Level.LOW]) == {Color.RED: Level.LOW} and catches(Mistake) is True",
    ]
    code = "def fail(a, b): raise Mistake(a, b)\ndef other(c): return Color.BLUE if c is Color.RED else Color.RED\n"
    code += "def first(xs): return {xs[0]: xs[1]} if xs[1] is Level.LOW else None\n"
    code += "def catches(kind):\n    try: fail(1, 2)\n    except kind: return True"
    assert run_tests(code, tests, setup, PATIENT).detail == "all 3 tests passed"
    tests = [
        "try:\n    fail(1, 2)\n    assert False\nexcept Mistake as e:\n    assert e.a == 1 and type(e) is not Mistake",
        "def bad(): raise Mistake(7, 2)\nassert code_of(bad) == 7",
    ]
    worse = "class Worse(Mistake): pass\ndef fail(a, b): raise Worse(a, b)\n"
    worse += "def code_of(step):\n    try: step()\n    except Mistake as e: return e.a"
    assert run_tests(worse, tests, setup, PATIENT).detail == "all 2 tests passed"
    again = "class Mistake(Exception):\n    a = 1\n    def __str__(s): return 'bad'\ndef fail(a, b): raise Mistake\n"
    assert run_tests(again, ["try: fail(1, 2)\nexcept Mistake: pass"], setup, PATIENT).correct
    assert not run_tests(code.replace("raise", "return"), [tests[0]], setup, PATIENT).correct
    assert not run_tests(code.replace("is Color.RED", "is Color.BLUE"), [tests[1]], setup, PATIENT).correct


def test_a_name_of_a_builtin_is_the_code_s_only_where_it_is_asked_for() -> None:
    code = "def sum(a, b): return a + b\ndef all(x): return True\ndef f(x): return 0"
    assert run_tests(code, ["assert sum(1, 2) == 3"]).correct
    assert run_tests(code, ["assert sum(1, 2) == 3", "assert f(1) == 0"], entry="sum").correct
    assert not run_tests(code, ["assert all([f(1) == 1])"]).correct
    assert "TypeError" in run_tests(code, ["assert sum(1, f(2)) == 1"]).detail


def test_arithmetic_with_plain_data_proves_nothing() -> None:
    zero = "class Z(float):\n    own = 1\nclass A:\n    def __sub__(s, o): return KIND\n    __rsub__ = __sub__\n"
    zero += "    def __abs__(s): return 0.0\n    def max(s): return 0.0\ndef f(x): return A()"
    for kind in ("Z(0.0)", "s", "0.0"):
        for test in (
            "assert abs(f(1) - 2) < 1e-6",
            "assert f(1) - 2 == 0",
            "assert not f(1) - 2",
            "assert round(2 - f(1)) == 0",
            "import numpy as np\nassert abs(f(1) - np.ones(2)).max() < 1",
            "import numpy as np\nassert (f(1) - [1, 2]).max() < 1",
        ):
            assert not run_tests(zero.replace("KIND", kind), [test]).correct, (kind, test)


def test_a_module_is_the_judge_s_own_whatever_the_code_calls_so() -> None:
    code = "class math:\n    @staticmethod\n    def fabs(x): return 0.0\ndef f(x): return x"
    assert not run_tests(code, ["assert math.fabs(f(1) - 2) < 1"]).correct
    assert run_tests("import math\ndef f(x): return x", ["assert math.fabs(f(1) - 2) <= 1"]).correct


def outside(writer: Writer, value: object) -> tuple[bytes, bytes]:
    raise TypeError(value)


def inside(tag: bytes, payload: bytes, values: list) -> object:
    raise Garbled(tag)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.datetimes().map(lambda d: d.replace(fold=0))
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
    ),
    max_leaves=20,
)


@settings(max_examples=50)
@given(plain)
def test_plain_data_comes_back_the_same(value: object) -> None:
    data = Writer(outside, {}, set()).message(value)
    received = Reader(inside, [], {}).value(data)
    assert received == value and type(received) is type(value)


def test_shared_and_circular_lists_stay_so() -> None:
    circular: list = [1]
    circular.append((circular, {"a": circular}))
    received = Reader(inside, [], {}).value(Writer(outside, {}, set()).message([circular, circular]))
    assert received[0] is received[1] and received[0][1][0] is received[0] and received[0][1][1]["a"] is received[0]


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"0\n", b"l", b"t", b"d", b"I", b"-1 ", b"1:", b"0", b" ", b"5:"])).map(b"".join)
)
def test_bytes_that_are_no_message_are_refused_and_nothing_else(data: bytes) -> None:
    untouched = [[1, 2]]
    try:  # noqa: SIM105
        Reader(inside, [], {}).value(data)
    except Garbled:
        pass
    assert untouched == [[1, 2]]
