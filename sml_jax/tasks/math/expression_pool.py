"""Judges many one-line expressions in `x` a second, in a worker process that may be killed without loss."""

from __future__ import annotations

import inspect
import json
import os
import selectors
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

Outputs = list[int] | str

MAX_CHARACTERS = 400
_MEMO_SIZE = 1 << 16
_MEMORY_BYTES = 256 << 20


class LineWorker:
    """A child Python process that answers one request line with a known number of lines.

    The child runs the source text of `serve`, so that function imports what it needs and names nothing outside
    itself. It first prints one line of greeting, and ends when its input does. It is not forked from this process
    (JAX threads are live), starts at the first need, and is killed when late or when this object goes.

    Args:
      serve: the child's whole program; called with `arguments`.
      arguments: values whose `repr` is their source.
      start_s: seconds the child may take to greet.
    """

    def __init__(self, serve: Callable[..., None], *arguments: Any, start_s: float = 60.0) -> None:
        call = f"{serve.__name__}({', '.join(map(repr, arguments))})"
        self._source = f"{textwrap.dedent(inspect.getsource(serve))}\n{call}\n"
        self._start_s = start_s
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False
        self._end: Callable[[], object] = lambda: None

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._process.pid if self._process else None

    @property
    def ready(self) -> bool:
        """Whether the child runs and has greeted, so that a request need not wait for its start."""
        return self._greeted and self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the child unless it runs; does not wait for it."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", self._source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._end = weakref.finalize(self, _end_process, self._process)  # runs at interpreter exit too

    def close(self) -> None:
        """Kills the child, if any. The next request starts another."""
        self._end()
        self._process, self._greeted = None, False

    def ask(self, request: str, count: int, timeout_s: float) -> tuple[list[str], str]:
        """Sends one line and reads `count` lines back.

        Args:
          request: text without a newline.
          count: lines that answer it.
          timeout_s: seconds the child may stay silent.

        Returns:
          The lines that came, and "" or why fewer came ("timed out" or "its process died"; the child is then gone).

        Raises:
          RuntimeError: the child does not start.
        """
        self.start()
        if not self._greeted:
            _, trouble = self._pump(b"", 1, self._start_s)
            if trouble:
                self.close()
                raise RuntimeError(f"a worker process could not start ({trouble}): is the machine out of memory?")
            self._greeted = True
        lines, trouble = self._pump(request.encode() + b"\n", count, timeout_s)
        if trouble:
            self.close()
        return [line.decode() for line in lines], trouble

    def _pump(self, data: bytes, count: int, timeout_s: float) -> tuple[list[bytes], str]:
        """Writes `data` while reading lines, so that neither side can block the other for good."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        source, sink = self._process.stdout.fileno(), self._process.stdin.fileno()
        unsent, buffer, lines = memoryview(data), b"", list[bytes]()
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            if data:
                selector.register(sink, selectors.EVENT_WRITE)
            deadline = time.monotonic() + timeout_s
            while len(lines) < count:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    return lines, "timed out"
                for key, _ in ready:
                    if key.fd == sink:
                        try:
                            unsent = unsent[os.write(sink, unsent) :]
                        except BrokenPipeError:
                            return lines, "its process died"
                        if not unsent:
                            selector.unregister(sink)
                        deadline = time.monotonic() + timeout_s
                        continue
                    chunk = os.read(source, 1 << 16)
                    if not chunk:
                        return lines, "its process died"
                    *whole, buffer = (buffer + chunk).split(b"\n")
                    if whole:
                        lines += whole
                        deadline = time.monotonic() + timeout_s
        return lines, ""


def _end_process(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


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
        size = 0
        for node in ast.walk(tree):
            if isinstance(node, (ast.Expression, ast.operator, ast.unaryop, ast.expr_context)):
                continue  # operators are judged with the expression that holds them
            size += 1
            if size > 40:
                return "more than 40 terms"
            if isinstance(node, ast.BinOp):
                good = isinstance(node.op, binary)
            elif isinstance(node, ast.UnaryOp):
                good = isinstance(node.op, (ast.UAdd, ast.USub))
            elif isinstance(node, ast.Constant):
                good = type(node.value) is int and node.value < 10**6
            else:
                good = isinstance(node, ast.Name) and node.id == "x"
            if not good:
                op = getattr(node, "op", node)
                return (
                    f"only x, + - * // % and whole numbers of at most 6 digits may stand in it, not {type(op).__name__}"
                )
        return ""

    def judge(text, inputs):  # type: ignore[no-untyped-def]
        if len(text) > max_characters:
            return f"longer than {max_characters} characters"
        if not text.isascii() or "\n" in text or "\r" in text:
            return "not one line of ASCII text"
        try:
            tree = ast.parse(text.strip(), mode="eval")
            wrong = fault(tree)
            if wrong:
                return wrong
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
    for line in sys.stdin:
        inputs, expressions = json.loads(line)
        for text in expressions:
            print(json.dumps(judge(text, inputs)), flush=True)


class ExpressionPool:
    """Evaluates expressions in the one variable `x` over the integers, in one persistent worker process.

    An expression is at most 40 terms of `x`, whole numbers of at most 6 digits, `+ - * // %` and brackets. Anything
    else is an error for that expression alone: the worker checks the syntax tree before it evaluates, has limited
    memory, and is killed and started again when an expression keeps it silent. Usable from several threads, one
    call at a time. Results are remembered.

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
        """Ends the worker. A later call of `outputs` starts another."""
        with self._lock:
            self._worker.close()

    def outputs(self, expressions: Sequence[str], inputs: Sequence[int]) -> list[list[int] | str]:
        """Evaluates every expression at every input.

        Args:
          expressions: n texts, such as "3 * x + 1".
          inputs: m values of x.

        Returns:
          n results in order: the m values (of at most 15 digits), or one line that says what is wrong.

        Raises:
          RuntimeError: the worker does not start.
        """
        points = tuple(int(value) for value in inputs)
        with self._lock:
            found: dict[str, Outputs] = {}
            for text in expressions:
                found[text] = self._memo.get((text, points), "")
            self._evaluate([text for text, known in found.items() if known == ""], points, found)
        return [list(known) if isinstance(known := found[text], list) else known for text in expressions]

    def _evaluate(self, pending: list[str], points: tuple[int, ...], found: dict[str, Outputs]) -> None:
        """Fills `found` for the `pending` expressions; whatever is silent too long is given up alone."""
        while pending:
            # Text past the limit is judged by its length alone, so a longer rest need not travel.
            request = json.dumps([points, [text[: MAX_CHARACTERS + 1] for text in pending]])
            lines, trouble = self._worker.ask(request, len(pending), self._timeout_s)
            for text, line in zip(pending, lines, strict=False):
                found[text] = json.loads(line)
                self._remember(text, points, found[text])
            pending = pending[len(lines) :]
            if trouble and pending:
                found[pending[0]] = f"evaluation stopped: {trouble}"
                pending = pending[1:]

    def _remember(self, text: str, points: tuple[int, ...], result: Outputs) -> None:
        while len(self._memo) >= _MEMO_SIZE:
            del self._memo[next(iter(self._memo))]
        if len(text) <= MAX_CHARACTERS:
            self._memo[text, points] = result
