"""The program of the processes that compare expressions. Each runs the source text of the one function below."""

from __future__ import annotations


def serve_equivalence(path: list[str], memory_bytes: int, soft_s: float) -> None:
    """Answers each line `[gold, attempt]`, two LaTeX texts in JSON, with "true", "false" or "null" (too slow).

    Expressions are compared by their values first, and by math-verify where values do not tell: math-verify alone takes
    some unequal ones for equal. Behind a gold text that begins with `\\approx ` the question is
    whether one of two numbers is the other, rounded.

    Args:
      path: for `sys.path`.
      memory_bytes: address space of the process.
      soft_s: seconds for one answer.
    """
    import contextlib
    import json
    import random
    import re
    import resource
    import signal
    import sys
    from functools import lru_cache

    sys.path[:] = path
    for which, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(which, (most, resource.getrlimit(which)[1]))
    # Answers alone go to the standard output: libraries print there too.
    out, sys.stdout = sys.stdout, sys.stderr
    import logging

    import sympy  # type: ignore[import-untyped]
    from latex2sympy2_extended import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy.core.cache import clear_cache  # type: ignore[import-untyped]

    logging.disable(logging.CRITICAL)
    # Units are cut off before: math-verify would take the "t" of 3 + 2t for tons.
    config = LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=False, malformed_operators=True, nits=True)
    )

    class LateError(BaseException):
        """Not an Exception, so that nothing in between swallows it."""

    def late(*_):  # type: ignore[no-untyped-def]
        raise LateError

    signal.signal(signal.SIGALRM, late)

    @lru_cache(maxsize=2048)
    def read(text):  # type: ignore[no-untyped-def]
        """What math-verify reads in a LaTeX text: a list whose first item is an expression, or an empty one."""
        readings = parse("\\boxed{" + text + "}", [config], parsing_timeout=None)
        if readings and isinstance(readings[0], sympy.Basic):
            with contextlib.suppress(Exception):  # an index of a sum stays what it is
                units = {name: sympy.I for name in readings[0].free_symbols if name.name == "i"}
                readings[0] = readings[0].xreplace(units)
            # math-verify takes any two equations that it cannot solve for a symbol for equal, such as f(0) = 1.
            calls = readings[0].atoms(sympy.core.function.AppliedUndef)
            readings[0] = readings[0].xreplace({call: sympy.Symbol(str(call), real=True) for call in calls})
        return readings

    def surely_differ(left, right):  # type: ignore[no-untyped-def]
        """Whether two numbers surely differ: to 40 digits, or to 5 where one is written as a decimal."""
        digits = 5 if left.has(sympy.Float) or right.has(sympy.Float) else 40
        left, right = left.evalf(50, maxn=400), right.evalf(50, maxn=400)
        return bool(abs(left - right) > abs(left) * sympy.Float(10) ** -digits)

    def exact_value(expression):  # type: ignore[no-untyped-def]
        """The rational number that an expression without decimals is worth, None where it is no such number."""
        powers = expression.atoms(sympy.Pow)
        if expression.has(sympy.Float) or any(not abs(power.exp) < 3_000 for power in powers if power.exp.is_Integer):
            return None
        if any(not power.exp.is_Integer for power in powers):
            return None
        value = expression.doit()
        return value if value.is_Rational else None

    def rounds_to(exact, rounded, written=""):  # type: ignore[no-untyped-def]
        """Whether the second of two numbers is the first one, rounded.

        It may be off by one part in 200, or is rounded to a whole number or to the decimals it is written with.
        """
        places = re.search(r"\.([0-9]{1,12})(?![0-9])", written)
        exact, rounded = complex(exact.evalf(20)), complex(rounded.evalf(20))
        gap = abs(exact - rounded)
        if places and gap * 2 * 10 ** len(places[1]) <= 1:
            return True
        return gap * 200 <= abs(exact) or (gap * 2 <= 1 and rounded.real == round(rounded.real))

    def nearly_equal(left, right):  # type: ignore[no-untyped-def]
        return abs(left - right) <= 1e-9 * max(abs(left), abs(right))

    def value_at(expression, point):  # type: ignore[no-untyped-def]
        value = complex(expression.subs(point).evalf(20))
        if value != value or abs(value) == float("inf"):
            raise ValueError
        return value

    def compare_at_points(left, right, measure):  # type: ignore[no-untyped-def]
        """Compares the values of two expressions at seven random points.

        `measure` is given the pairs of values so far. The first of its answers that is not True is returned, or True
        after seven points, or None where too few points are in both domains.
        """
        names = sorted(left.free_symbols | right.free_symbols, key=str)
        rng = random.Random(0)  # the same for every pair: a verdict does not depend on what came before
        pairs = []
        for attempt in range(12):
            # Positive points first: more expressions are defined there. Then a negative one: ln x is not ln |x|.
            signs = (1,) if attempt < 4 else (-1,) if attempt == 4 else (1, -1)
            point = {name: sympy.Rational(rng.randint(100, 2300), 1009) * rng.choice(signs) for name in names}
            try:
                pairs.append((value_at(left, point), value_at(right, point)))
            except Exception:
                continue
            outcome = measure(pairs)
            if outcome is not True:
                return outcome
            if len(pairs) == 7:
                return True
        return None

    def equal_values(pairs):  # type: ignore[no-untyped-def]
        return nearly_equal(*pairs[-1])

    def proportional_values(pairs):  # type: ignore[no-untyped-def]
        (a, b), (c, d) = pairs[0], pairs[-1]
        if len(pairs) == 2 and nearly_equal(a, c) and nearly_equal(b, d):
            return "constant"
        return min(abs(a), abs(b), abs(c)) > 1e-9 and nearly_equal(a * d, b * c)

    def has_values(value):  # type: ignore[no-untyped-def]
        return isinstance(value, sympy.Expr) and not value.has(
            sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit, sympy.Derivative, sympy.core.function.AppliedUndef
        )

    def assigns(value):  # type: ignore[no-untyped-def]
        """Whether it is an equation such as y = 2x - 1, which says what one symbol is."""
        return isinstance(value, sympy.Eq) and value.lhs.is_Symbol and value.lhs not in value.rhs.free_symbols

    def by_values(left, right):  # type: ignore[no-untyped-def]
        """Whether two expressions or equations have the same values; None where values do not tell."""
        # One equation "x = 5" beside one expression "5": the side that says a value counts.
        if isinstance(right, sympy.Eq) and has_values(left):
            right = right.rhs
        elif assigns(left) and has_values(right):
            left = left.rhs
        if has_values(left) and has_values(right):
            if left.is_Symbol or right.is_Symbol:
                return None
            if left.free_symbols | right.free_symbols:
                return compare_at_points(left, right, equal_values)
            exact = exact_value(left), exact_value(right)
            if None not in exact:
                return bool(exact[0] == exact[1])
            return False if surely_differ(left, right) else None
        # Two equations.
        if not (isinstance(left, sympy.Eq) and isinstance(right, sympy.Eq)):
            return None
        if not all(map(has_values, (*left.args, *right.args))):
            return None
        if not (left.free_symbols or right.free_symbols):  # 2 + 3 = 5; math-verify takes them all for equal
            return not surely_differ(left.rhs, right.rhs)
        if assigns(left):
            if assigns(right) and left.lhs == right.lhs:
                return compare_at_points(left.rhs, right.rhs, equal_values)
            # What solves the gold equation must solve the other.
            solution = (right.lhs.subs(left.lhs, left.rhs), right.rhs.subs(left.lhs, left.rhs))
            if compare_at_points(*solution, equal_values) is False:
                return False
        # Equations are equal where the differences of their sides are proportional: 2x = 4 and x = 2.
        outcome = compare_at_points(left.lhs - left.rhs, right.lhs - right.rhs, proportional_values)
        # f(0) = 1 reads as f * 0 = 1, which is as false as any other.
        return False if outcome == "constant" else outcome or None

    def are_equal(gold, attempt):  # type: ignore[no-untyped-def]
        asks_rounding = gold.startswith("\\approx ")
        gold = gold.removeprefix("\\approx ")
        gold_readings, attempt_readings = read(gold), read(attempt)
        if not gold_readings or not attempt_readings:
            return False
        if asks_rounding:
            left, right = gold_readings[0], attempt_readings[0]
            numbers = has_values(left) and has_values(right) and not (left.free_symbols | right.free_symbols)
            return bool(numbers and (rounds_to(left, right, attempt) or rounds_to(right, left)))
        # A percent sign may be meant either way, which math-verify knows.
        if "%" not in gold + attempt:
            equal = by_values(gold_readings[0], attempt_readings[0])
            if equal is not None:
                return equal
        return bool(verify(gold_readings, attempt_readings, allow_set_relation_comp=True, timeout_seconds=None))

    # The first reading loads a grammar, which takes long: before the greeting, so that no question pays for it.
    read("1")
    print("ready", file=out, flush=True)
    for answered, line in enumerate(sys.stdin):
        gold, attempt = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, soft_s)
        try:
            equal = are_equal(gold, attempt)
        except LateError:
            equal = None
        except Exception:
            equal = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(equal), file=out, flush=True)
        if answered % 1000 == 999:  # sympy's cache has no bound
            clear_cache()
