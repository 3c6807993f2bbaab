"""The pool that evaluates one-line expressions, against plain arithmetic."""

from __future__ import annotations

import ast
from functools import lru_cache

from fuzz.campaign import Target
from fuzz.source import Source
from sml_jax.tasks.math.expression_pool import ExpressionPool

_WORDS = (
    "x",
    "1",
    "2",
    "999999",
    "1000000",
    "+",
    "-",
    "*",
    "//",
    "%",
    "**",
    "(",
    ")",
    "not ",
    "lambda:",
    "[",
    ",",
    "\\",
    "_",
    ".",
    "0x1",
)


@lru_cache(maxsize=1)
def _pool() -> ExpressionPool:
    return ExpressionPool(timeout_s=10.0)


def _valid_expression(source: Source, depth: int = 0) -> str:
    """An expression that the pool may refuse only for its length or its values."""
    if depth > 3 or source.flag(3):
        return source.pick(("x", str(source.integer(0, 999_999))))
    sides = _valid_expression(source, depth + 1), _valid_expression(source, depth + 1)
    return f"({sides[0]} {source.pick(('+', '-', '*', '//', '%'))} {sides[1]})"


def check(source: Source) -> None:
    """One case."""
    texts = [source.text(_WORDS, 20, 1000) for _ in range(source.integer(1, 4))]
    valid = _valid_expression(source)
    points = [source.integer(-1000, 1000) for _ in range(source.integer(0, 4))]
    # Whatever the other texts are, each has a result: values in bounds, or one line that says what is wrong.
    *others, values = _pool().outputs([*texts, valid], points)
    assert len(others) == len(texts)
    for result in others:
        if isinstance(result, str):
            assert result and "\n" not in result
            assert "stopped" not in result, result
        else:
            assert len(result) == len(points) and all(abs(value) < 10**15 for value in result)
    # The valid one has the values that Python gives.
    try:
        expected: list[int] | None = [eval(valid, {"__builtins__": {}}, {"x": x}) for x in points]
    except ZeroDivisionError:
        expected = None
    if (
        expected is None
        or any(abs(value) >= 10**15 for value in expected)
        or sum(1 for _ in ast.walk(ast.parse(valid))) > 40
    ):
        assert isinstance(values, str) or values == expected, f"{valid} at {points}: {values}"
    else:
        assert values == expected, f"{valid} at {points}: {values}"


def target() -> Target:
    """The expression pool."""
    return Target("expressions", check, cpu_s=10.0, close=lambda: _pool().close())
