"""A worker process that answers lines with lines, and may hang, crash or be killed without loss."""

from __future__ import annotations

import inspect
import os
import selectors
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import Callable
from typing import Any


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
        # A child that does not read must not block this process.
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
        # Starting may take long, and is no fault of the request.
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
        unsent, unfinished, lines = memoryview(data), b"", list[bytes]()
        with selectors.DefaultSelector() as selector:
            # Writing is watched for as long as something is unsent.
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
                    *complete, unfinished = (unfinished + chunk).split(b"\n")
                    # Every line buys the time for the next.
                    if complete:
                        lines += complete
                        deadline = time.monotonic() + timeout_s
        return lines, ""


def _end_process(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
