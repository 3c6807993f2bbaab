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


def _sound(source: Source, depth: int = 0) -> str:
    if depth > 3 or source.flag(3):
        return source.pick(("x", str(source.integer(0, 999_999))))
    sides = _sound(source, depth + 1), _sound(source, depth + 1)
    return f"({sides[0]} {source.pick(('+', '-', '*', '//', '%'))} {sides[1]})"


def check(source: Source) -> None:
    """One case."""
    texts = [source.text(_WORDS, 20, 1000) for _ in range(source.integer(1, 4))]
    sound = _sound(source)
    points = [source.integer(-1000, 1000) for _ in range(source.integer(0, 4))]
    *others, found = _pool().outputs([*texts, sound], points)
    assert len(others) == len(texts)
    for result in others:
        if isinstance(result, str):
            assert result and "\n" not in result
            assert "stopped" not in result, result
        else:
            assert len(result) == len(points) and all(abs(value) < 10**15 for value in result)
    try:
        wanted: list[int] | None = [eval(sound, {"__builtins__": {}}, {"x": x}) for x in points]
    except ZeroDivisionError:
        wanted = None
    if (
        wanted is None
        or any(abs(value) >= 10**15 for value in wanted)
        or sum(1 for _ in ast.walk(ast.parse(sound))) > 40
    ):
        assert isinstance(found, str) or found == wanted, f"{sound} at {points}: {found}"
    else:
        assert found == wanted, f"{sound} at {points}: {found}"


def target() -> Target:
    """The expression pool."""
    return Target("expressions", check, cpu_s=10.0, close=lambda: _pool().close())
