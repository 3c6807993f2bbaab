"""run_cases: programs that read and print, functions that are called, each way to fail, and how outputs compare."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.tasks.code.cases import CONTEST_SETUP, first_difference, run_cases, same_output
from sml_jax.tasks.code.problem import CallCase, IoCase
from sml_jax.tasks.code.sandbox import Limits
from sml_jax.tasks.problems.types import Verdict

SHORT = Limits(wall_s=60.0, cpu_s=1)


def passed(count: int) -> Verdict:
    return Verdict(correct=True, attempted=True, detail=f"all {count} cases passed")


@pytest.mark.parametrize(
    ("code", "stdin", "stdout"),
    [
        ("print(int(input()) * 2)", "3\n", "6\n"),
        ("print(int(input()) * 2)", "3", "6"),
        ("import sys\nfor line in sys.stdin:\n    print(line.strip()[::-1])", "ab\ncd", "ba\ndc\n\n"),
        ("import sys\nprint(len(sys.stdin.buffer.read()))", "é", "2"),
        ("import os\nprint(os.read(0, 9))", "abc", "b'abc'"),
        ("print(open(0).read().upper())", "straße\nñ", "STRASSE\nÑ"),
        ("if __name__ == '__main__':\n    print('x ')\n    print(' y')", "", "x\ny"),
        ("def main():\n    print(1)\nmain()\nexit()", "", "1"),
        ("import sys\nprint(1)\nsys.exit(3)", "", "1"),
        ("import sys\nsys.stdout.write('1')\nsys.exit('words on the other stream')", "", "1"),
        ("import os\nos.write(1, b'1')\nos._exit(0)", "", "1"),
        ("import threading\nthreading.Thread(target=print, args=(1,)).start()", "", "1"),
        ("import atexit\natexit.register(print, 1)", "", "1"),
        ("print(1.50, 2)", "", "1.5 2.0"),
        ("print('a' * 3_000_000)", "", "a" * 3_000_000),
        ("import sys\nprint(input(), file=sys.stderr)\nprint(1)", "words", "1"),
        ("import sys\nsys.stdin = None\nprint(1)", "", "1"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\nprint(A(1))", "", "A(a=1)"),
    ],
)
def test_a_program_that_prints_what_it_must(code: str, stdin: str, stdout: str) -> None:
    assert run_cases(code, [IoCase(stdin, stdout)]) == passed(1)


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("print(int(input()) + 2)", "case 2 (input '4\\n') failed: expected '8', got '6'"),
        ("n = int(input())\nprint(n * 2)\nprint(n)", "failed: in line 2 of the output expected no such line, got '2'"),
        ("pass", "case 1 (input '2\\n') failed: expected '4', got no output"),
        ("n = int(input())\nprint(8 // (n - 2))", "ZeroDivisionError: integer division or modulo by zero (line 2:"),
        ("print(input(), input())", "EOFError: EOF when reading a line (line 1: print(input(), input()))"),
        ("while True: pass", "failed: no end within 1 s of processor time (line 1: while True: pass)"),
        ("while True: print('y' * 1000)", "failed: it printed more than 1048575 bytes"),
        ("print(4)\nimport os\nos._exit(2)", "failed: left early, status 2"),
        ("print(4, flush=True)\nimport os\nos.kill(os.getpid(), 11)", "failed: left early, status -11 (SIGSEGV)"),
        ("print(4)\nimport atexit, os\natexit.register(os.kill, os.getpid(), 11)", "status -11 (SIGSEGV)"),
        ("print(4", "failed: SyntaxError: '(' was never closed (line 1: print(4)"),
        ("print(4, flush=True)\nraise ValueError('no')", "failed: ValueError: no (line 2: raise ValueError('no'))"),
        ("print(x)", "failed: NameError: name 'x' is not defined (line 1: print(x))"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("x = [0] * 10**10", "MemoryError"),
    ],
)
def test_a_program_that_fails_and_why(code: str, detail: str) -> None:
    verdict = run_cases(code, [IoCase("2\n", "4\n"), IoCase("4\n", "8")], limits=SHORT)
    assert verdict.attempted and not verdict.correct
    assert detail in verdict.detail and len(verdict.detail) <= 400


def test_a_program_that_waits() -> None:
    verdict = run_cases("import time\nprint(4)\ntime.sleep(600)", [IoCase("", "4")], limits=Limits(wall_s=2.0))
    assert verdict.detail == "case 1 (input '') failed: no end within 2 s (line 3: time.sleep(600))"


def test_each_case_is_a_process_of_its_own() -> None:
    code = "import builtins\nprint(getattr(builtins, 'seen', 0))\nbuiltins.seen = 1\nopen('note', 'x').close()"
    assert run_cases(code, [IoCase("", "0")] * 3).correct


def test_expected_output_is_not_within_reach_of_the_program() -> None:
    code = "import gc, sys\nprint([o for o in gc.get_objects() if isinstance(o, dict) and 'stdout' in o.values()])"
    secret = "q7" * 20
    spy = f"{code}\nimport os\nprint({secret[:8]!r} in str(open('/proc/self/cmdline').read()) + str(dict(os.environ)))"
    assert "True" not in run_cases(spy, [IoCase("", secret)]).detail


CALL = [CallCase("[1, [2]]", "[1, [2]]"), CallCase('["é", null]', '["é", null]')]


@pytest.mark.parametrize(
    "code",
    [
        "def f(a, b): return [a, b]",
        "def f(a, b): return a, b",
        "class Solution:\n    def f(self, a, b):\n        print('noise' * 10**5)\n        return (a, b)",
        "class Solution:\n    pass\ndef f(a, b): return [a, b]",
        "f = lambda a, b: [a, b]",
        "from collections import UserList\nclass L(list): pass\ndef f(a, b): return L([a, b])",
    ],
)
def test_a_function_that_returns_what_it_must(code: str) -> None:
    assert run_cases(code, CALL, "f") == passed(2)


def test_each_call_has_a_new_instance_and_new_arguments() -> None:
    code = (
        "class Solution:\n    def __init__(self): self.n = 0\n"
        "    def f(self, a):\n        a.append(self.n)\n        self.n += 1\n        return a"
    )
    assert run_cases(code, [CallCase("[[]]", "[0]")] * 2, "f").correct


@pytest.mark.parametrize(
    ("returned", "expected", "same"),
    [
        ("1", "1.0", True),
        ("True", "true", True),
        ("{'a': (1,)}", '{"a": [1]}', True),
        ("{1: 2}", '{"1": 2}', False),
        ("{1}", "[1]", False),
        ("None", "null", True),
        ("0.1 + 0.2", "0.3", False),
        ("'1'", "1", False),
        ("float('inf')", "Infinity", True),
        ("range(2)", "[0, 1]", False),
        ("__import__('collections').Counter('a')", '{"a": 1}', True),
        ("list(range(100000))", json.dumps(list(range(100000))), True),
    ],
)
def test_returned_values(returned: str, expected: str, same: bool) -> None:
    assert run_cases(f"def f(): return {returned}", [CallCase("[]", expected)], "f").correct is same


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("def f(a): return a + 1", "case 2 (f(5)) failed: expected 5, got 6"),
        ("def f(a): return {a}", "case 1 (f(1)) failed: expected 2, got {1}"),
        ("def g(a): return 2", "the code defines no function f"),
        ("class Solution:\n    def g(self): pass", "the code defines no function f"),
        ("f = 3", "case 1 (f(1)) failed: TypeError: 'int' object is not callable"),
        ("def f(): pass", "case 1 (f(1)) failed: TypeError: f() takes 0 positional arguments but 1 was given"),
        ("def f(a): return 2 // (5 - a) + 2", "case 2 (f(5)) failed: ZeroDivisionError: integer division or modulo"),
        ("def f(a):\n    while a: pass", "case 1 (f(1)) failed: no end within 1 s of processor time (line 2: while a"),
        ("def f(a):\n    import os\n    os._exit(0)", "case 1 (f(1)) failed: left early, status 0"),
        ("def f(a): exit()", "case 1 (f(1)) failed: SystemExit"),
        ("def f(a:", "the code failed: SyntaxError"),
        ("1 / 0", "the code failed: ZeroDivisionError: division by zero (line 1: 1 / 0)"),
        ("def f(a):\n    a = []\n    a.append(a)\n    return a", "case 1 (f(1)) failed: RecursionError"),
        ("def f(a): return a + 1 if a < 5 else 'a' * 2**25", "case 2 (f(5)) failed: expected 5, got 'aaa"),
    ],
)
def test_a_function_that_fails_and_why(code: str, detail: str) -> None:
    verdict = run_cases(code, [CallCase("[1]", "2"), CallCase("[5]", "5")], "f", SHORT)
    assert verdict.attempted and not verdict.correct
    assert detail in verdict.detail and len(verdict.detail) <= 400


def test_each_call_has_the_time_for_itself() -> None:
    code = "from time import process_time as t\ndef f():\n    end = t() + 0.7\n    while t() < end: pass\n    return 1"
    assert run_cases(code, [CallCase("[]", "1")] * 3, "f", Limits(wall_s=60.0, cpu_s=1)).correct


def test_contest_setup_gives_the_usual_names() -> None:
    code = "def f(a: List[int]) -> int:\n    return gcd(*a) + sum(accumulate(a)) + len(Counter(a)) + bisect_left(a, 6)"
    assert run_cases(code, [CallCase("[[4, 6]]", "19")], "f", setup=CONTEST_SETUP).correct


def test_blank_code_and_bad_cases() -> None:
    assert run_cases(" \n", [IoCase("", "")]) == Verdict(correct=False, attempted=False, detail="no code")
    with pytest.raises(UserError, match="at least one"):
        run_cases("x = 1", [])
    with pytest.raises(UserError, match="entry"):
        run_cases("x = 1", [CallCase("[]", "1")])
    for bad in (CallCase("{", "1"), CallCase("1", "1"), CallCase("[]", "x")):
        with pytest.raises(UserError, match=r"case 1: .*JSON"):
            run_cases("x = 1", [bad], "f")


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("1\n2\n", "1\n2", True),
        ("1 \n 2", "1\r\n2\n\n\n", True),
        ("1.0 2", "1 2.00", True),
        ("1e3", "1000", True),
        ("1 2", "1  2", True),
        ("a b", "a  b", False),
        ("Yes", "YES", False),
        ("0.3", "0.30000000000000004", False),
        ("1\n2", "1 2", False),
        ("1\n\n2", "1\n2", False),
        ("", " \n", True),
        ("", "1", False),
        ("nan", "nan", True),
        ("nan 1", "nan 1.0", False),
        ("1" * 20_000, "1" * 20_000, True),
    ],
)
def test_outputs_compare_as_in_livecodebench(expected: str, printed: str, same: bool) -> None:
    assert same_output(expected, printed) is same


@given(st.text(), st.text(alphabet=" \t\n", max_size=5), st.text(alphabet=" \t\n", max_size=5))
def test_white_space_around_never_counts(text: str, before: str, after: str) -> None:
    assert same_output(text, before + text + after)


@given(st.lists(st.integers(), min_size=1, max_size=6), st.data())
def test_one_changed_number_is_found(numbers: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(numbers) - 1))
    changed = [*numbers[:at], numbers[at] + 1, *numbers[at + 1 :]]
    assert first_difference("\n".join(map(str, numbers)), "\n".join(f"{n}.0" for n in changed)) == at
