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
    """A child Python process that answers each line of text that it is sent with a known number of lines.

    The child runs the source text of the function `serve`, which therefore must import what it needs itself and use no
    name from outside. The function must first print one line, to show that it is ready, and return when its standard
    input ends. The child is a new process and no fork, since a fork of a process with JAX's threads may hang. It is
    started when it is first needed, and killed when it takes too long or this object is deleted.

    Args:
      serve: the child's program; it is called with `arguments`.
      arguments: values that are written into the child's source by their `repr`.
      start_s: seconds that the child may take to print its first line.
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
        """The child's process id; None before it was started and after it was killed."""
        return self._process.pid if self._process else None

    @property
    def ready(self) -> bool:
        """Whether the child runs and has printed its first line, so that a request need not wait for its start."""
        return self._greeted and self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the child if it does not run, and returns without waiting for it."""
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
        """Kills the child if there is one. The next request starts another."""
        self._end()
        self._process, self._greeted = None, False

    def ask(self, request: str, count: int, timeout_s: float) -> tuple[list[str], str]:
        """Sends one line to the child and reads its answer; starts the child if necessary.

        Args:
          request: text without a newline.
          count: number of lines of the answer.
          timeout_s: seconds that each line of the answer may take.

        Returns:
          (lines that came, trouble). The trouble is "" if all `count` lines came, else "timed out" or "its process
          died"; the child is then killed.

        Raises:
          RuntimeError: the child could not be started.
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
