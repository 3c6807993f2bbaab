"""ExpressionPool: values, refusals that spare the rest, and a worker that may die or hang."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.tasks import ExpressionPool
from sml_jax.tasks.math.line_worker import LineWorker


@pytest.fixture(scope="module")
def pool() -> Iterator[ExpressionPool]:
    with ExpressionPool() as pool:
        yield pool


def test_known_values(pool: ExpressionPool) -> None:
    expressions = ["3 * x + 1", " x", "-x // 2", "+(x % 3)", "7", "x*x - x"]
    assert pool.outputs(expressions, [1, -2, 5]) == [
        [4, -5, 16],
        [1, -2, 5],
        [-1, 1, -3],
        [1, 1, 2],
        [7, 7, 7],
        [0, 6, 20],
    ]
    assert pool.outputs([], [1]) == []
    assert pool.outputs(["x"], []) == [[]]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("9**9**9", "Pow"),
        ("__import__('os')", "Call"),
        ("x.real", "Attribute"),
        ("x / 2", "Div"),
        ("y", "Name"),
        ("~x", "Invert"),
        ("True", "Constant"),
        ("1.5", "Constant"),
        ("1000000", "Constant"),
        ("'a' * 9", "Constant"),
        ("[x for x in x]", "ListComp"),
        ("x if x else 1", "IfExp"),
        ("(x := 1)", "NamedExpr"),
        ("lambda: x", "Lambda"),
        ("x +", "SyntaxError"),
        ("", "SyntaxError"),
        ("\0", "not an expression"),
        ("x\n", "one line"),
        ("\ud800", "ASCII"),
        ("\u0663", "ASCII"),
        ("x // (x - 1)", "division by zero at x = 1"),
        ("x % 0", "division by zero"),
        ("x * 999999 * 999999 * 999999", "15 digits"),
        ("+".join("x" * 21), "40 terms"),
        ("-" * 390 + "x", "40 terms"),
        ("x+" * 100_000 + "x", "400 characters"),
    ],
)
def test_a_bad_expression_spares_the_others(pool: ExpressionPool, expression: str, why: str) -> None:
    before, bad, after = pool.outputs(["x + 1", expression, "x + 2"], [1, 2])
    assert (before, after) == ([2, 3], [3, 4])
    assert isinstance(bad, str) and why in bad


def test_deep_brackets_are_read_or_refused(pool: ExpressionPool) -> None:
    # Python versions differ in how deep they may go.
    deep, after = pool.outputs(["(" * 195 + "x" + ")" * 195, "x + 2"], [1])
    assert after == [3] and (deep == [1] or "not an expression" in deep)


def test_a_result_is_the_caller_s_own(pool: ExpressionPool) -> None:
    pool.outputs(["x + 9"], [1])[0].append(5)  # type: ignore[union-attr]
    assert pool.outputs(["x + 9", "x + 9"], [1]) == [[10], [10]]


def test_a_killed_worker_is_replaced() -> None:
    with ExpressionPool() as pool:
        assert pool.outputs(["x"], [1]) == [[1]]
        first = pool._worker.pid
        os.kill(first, signal.SIGKILL)
        pool._worker._process.wait()
        assert pool.outputs(["x + 1"], [1]) == [[2]]
        assert pool._worker.pid != first


def test_a_hung_worker_costs_one_expression_only() -> None:
    with ExpressionPool(timeout_s=1.0) as pool:
        pool.outputs(["x"], [1])
        os.kill(pool._worker.pid, signal.SIGSTOP)
        many = [f"x + {i}" for i in range(9000)]  # more than a pipe holds
        first, *others = pool.outputs(many, [1])
        assert first == "evaluation stopped: timed out"
        assert others == [[1 + i] for i in range(1, 9000)]
        assert pool.outputs(["x + 0"], [1]) == [[1]]  # a time-out is not remembered


def test_close_ends_the_process_and_a_later_call_starts_another() -> None:
    pool = ExpressionPool()
    assert pool._worker.pid is None  # started at the first need
    assert pool.outputs(["x"], [3]) == [[3]]
    process = pool._worker._process
    pool.close()
    assert process.poll() is not None
    assert pool.outputs(["x * x"], [3]) == [[9]]
    pool.close()
    pool.close()


def test_the_memory_of_results_is_bounded(monkeypatch: pytest.MonkeyPatch, pool: ExpressionPool) -> None:
    monkeypatch.setattr("sml_jax.tasks.math.expression_pool._MEMO_SIZE", 10)
    assert pool.outputs([f"x - {i}" for i in range(50)], [0]) == [[-i] for i in range(50)]
    assert len(pool._memo) <= 10


def _echo(greeting: str) -> None:
    import sys

    print(greeting, flush=True)
    for line in sys.stdin:
        if line.strip() == "die":
            sys.exit(3)
        print(line.strip(), line.strip().upper(), sep="\n", flush=True)


def _fail() -> None:
    raise RuntimeError


def test_line_worker() -> None:
    worker = LineWorker(_echo, "hello 'you'")
    assert worker.ask("a", 2, 5.0) == (["a", "A"], "")
    assert worker.ask("b", 3, 0.5) == (["b", "B"], "timed out")
    assert worker.pid is None
    assert worker.ask("die", 1, 5.0) == ([], "its process died")
    assert worker.ask("c", 2, 5.0) == (["c", "C"], "")
    worker.close()
    with pytest.raises(RuntimeError, match="could not start"):
        LineWorker(_fail).ask("a", 1, 5.0)


_TREES = st.recursive(
    st.just("x") | st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(
        lambda t: f"({' '.join(t)})"
    ),
    max_leaves=8,
)


@given(st.lists(_TREES, max_size=8), st.lists(st.integers(-50, 50), max_size=4))
def test_agrees_with_python(pool: ExpressionPool, expressions: list[str], inputs: list[int]) -> None:
    for expression, values in zip(expressions, pool.outputs(expressions, inputs), strict=True):
        try:
            expected = [eval(expression, {"x": x}) for x in inputs]
        except ZeroDivisionError:
            assert "division by zero" in values
            continue
        assert values == expected or (isinstance(values, str) and max(map(abs, expected)) >= 10**15)


@given(st.lists(st.text(), max_size=5))
def test_total_over_texts(pool: ExpressionPool, texts: list[str]) -> None:
    results = pool.outputs([*texts, "x"], [2])
    assert len(results) == len(texts) + 1 and results[-1] == [2]
