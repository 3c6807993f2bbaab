"""Evaluates many one-line expressions in `x` a second, in a worker process that may be killed without loss."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from types import TracebackType

from sml_jax.tasks.math.line_worker import LineWorker

Outputs = list[int] | str
"""The values of an expression, or a line that says what is wrong with it."""

MAX_CHARACTERS = 400
_MEMO_SIZE = 1 << 16  # results
_MEMORY_BYTES = 256 << 20


def _serve_expressions(max_characters: int, memory_bytes: int) -> None:
    """The child: a line `[inputs, expressions]` in, a line for each expression out (a list of ints, or an error)."""
    import ast
    import contextlib
    import json
    import resource
    import sys

    for which, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(which, (most, resource.getrlimit(which)[1]))
    binary = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)

    def fault(tree):  # type: ignore[no-untyped-def]
        """What a syntax tree holds that is not allowed, "" for nothing."""
        size = 0
        for node in ast.walk(tree):
            if isinstance(node, (ast.Expression, ast.operator, ast.unaryop, ast.expr_context)):
                continue  # operators are judged with the expression that holds them
            size += 1
            if size > 40:
                return "more than 40 terms"
            if isinstance(node, ast.BinOp):
                allowed = isinstance(node.op, binary)
            elif isinstance(node, ast.UnaryOp):
                allowed = isinstance(node.op, (ast.UAdd, ast.USub))
            elif isinstance(node, ast.Constant):
                allowed = type(node.value) is int and node.value < 10**6
            else:
                allowed = isinstance(node, ast.Name) and node.id == "x"
            if not allowed:
                op = getattr(node, "op", node)
                return (
                    f"only x, + - * // % and whole numbers of at most 6 digits may stand in it, not {type(op).__name__}"
                )
        return ""

    def evaluate(text, inputs):  # type: ignore[no-untyped-def]
        """The values of one expression, or what is wrong with it."""
        if len(text) > max_characters:
            return f"longer than {max_characters} characters"
        if not text.isascii() or "\n" in text or "\r" in text:
            return "not one line of ASCII text"
        try:
            # Only what the tree allows is ever evaluated.
            tree = ast.parse(text.strip(), mode="eval")
            complaint = fault(tree)
            if complaint:
                return complaint
            code = compile(tree, "expression", "eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return f"not an expression ({type(error).__name__})"
        values = []
        for x in inputs:
            try:
                value = eval(code, {"__builtins__": {}}, {"x": x})
            except ZeroDivisionError:
                return f"division by zero at x = {x}"
            if abs(value) >= 10**15:
                return f"an output of more than 15 digits at x = {x}"
            values.append(value)
        return values

    print("ready", flush=True)
    # A line of output as soon as it is known: the parent kills a child that is silent too long.
    for line in sys.stdin:
        inputs, expressions = json.loads(line)
        for text in expressions:
            print(json.dumps(evaluate(text, inputs)), flush=True)


class ExpressionPool:
    """Evaluates expressions in the variable `x` for integers, in one worker process that is used for all calls.

    An expression may have `x`, whole numbers of at most 6 digits, `+ - * // %` and brackets, with at most 40 operators
    and operands. The worker checks this before it evaluates, and has limited memory. It is killed and started again if
    an expression takes too long. Results are remembered. Threads may share a pool; their calls wait for each other.

    Args:
      timeout_s: seconds that one expression may take.
    """

    def __init__(self, timeout_s: float = 2.0) -> None:
        self._timeout_s = timeout_s
        self._worker = LineWorker(_serve_expressions, MAX_CHARACTERS, _MEMORY_BYTES)
        self._memo: dict[tuple[str, tuple[int, ...]], Outputs] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> ExpressionPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kills the worker process. A later call of `outputs` starts another."""
        with self._lock:
            self._worker.close()

    def outputs(self, expressions: Sequence[str], inputs: Sequence[int]) -> list[list[int] | str]:
        """Evaluates every expression at every input.

        Args:
          expressions: n texts, such as "3 * x + 1".
          inputs: m values of x.

        Returns:
          n results in order. Each is a list of the m values, or one line of text that says what is wrong with the
          expression: it is not allowed, takes too long, divides by zero or has a value of more than 15 digits.

        Raises:
          RuntimeError: the worker process cannot be started.
        """
        points = tuple(int(value) for value in inputs)
        with self._lock:
            results: dict[str, Outputs] = {}
            for text in expressions:
                results[text] = self._memo.get((text, points), "")
            self._evaluate([text for text, known in results.items() if known == ""], points, results)
        # Copies, so that no caller changes what is remembered.
        return [list(result) if isinstance(result := results[text], list) else result for text in expressions]

    def _evaluate(self, pending: list[str], points: tuple[int, ...], results: dict[str, Outputs]) -> None:
        """Fills `results` for the `pending` expressions; one that keeps the worker silent is given up alone."""
        while pending:
            # Text past the limit is judged by its length alone, so a longer rest need not travel.
            request = json.dumps([points, [text[: MAX_CHARACTERS + 1] for text in pending]])
            lines, trouble = self._worker.ask(request, len(pending), self._timeout_s)
            for text, line in zip(pending, lines, strict=False):
                results[text] = json.loads(line)
                self._remember(text, points, results[text])
            pending = pending[len(lines) :]
            # The worker was killed over the first expression that has no result. The others are asked again.
            if trouble and pending:
                results[pending[0]] = f"evaluation stopped: {trouble}"
                pending = pending[1:]

    def _remember(self, text: str, points: tuple[int, ...], result: Outputs) -> None:
        while len(self._memo) >= _MEMO_SIZE:  # the oldest go
            del self._memo[next(iter(self._memo))]
        if len(text) <= MAX_CHARACTERS:
            self._memo[text, points] = result
