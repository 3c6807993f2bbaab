"""Calls between the judge and the candidate: one class for both ends of the wire. Part of the bare process.

Whichever end waits for an answer serves what the other asks meanwhile, so a function that a test hands over can be
called back. What an end may be asked for is its own affair: `judge_end` and `candidate_end`.
"""

from __future__ import annotations

import _thread
import os
from typing import Any

from sml_jax.tasks.code.sandbox.lending import Lender
from sml_jax.tasks.code.sandbox.wire import MAX_BYTES, Garbled, Writer
from sml_jax.tasks.code.sandbox.wire_reader import Reader


class Gone(Exception):
    """The process at the other end of the wire has closed its pipes."""


class Peer(Lender):
    """One end of the wire, the two pipes between the judge's process and the candidate's: it asks and answers requests.

    A frame is its length as 8 bytes, a byte for its kind ("?" a request, "!" an answer), and a message (see `wire`). A
    request is a tuple (operation, operands...). An answer is a tuple ("ok", value, changed) or ("no", error, changed);
    `changed` is a tuple of the mutable objects of the request whose content the operation changed.

    Args:
      reading, writing: numbers of the open files to read from and write to.
      classes, strict: see `Lender`.
    """

    def __init__(self, reading: int, writing: int, classes: dict[str, type], strict: bool) -> None:
        super().__init__(classes, strict)
        self._reading, self._writing = reading, writing
        self._lock = _thread.RLock()  # one conversation at a time, whatever threads a program has

    # Frames

    def _send(self, kind: bytes, data: bytes) -> None:
        frame = memoryview((len(data) + 1).to_bytes(8, "little") + kind + data)
        try:
            while frame:
                frame = frame[os.write(self._writing, frame) :]
        except OSError as error:
            raise Gone from error

    def _receive(self) -> tuple[bytes, bytes]:
        """(kind, message) of the next frame."""
        size = int.from_bytes(self._exactly(8), "little")
        if not 0 < size <= MAX_BYTES + 64:
            raise Garbled("length")
        data = self._exactly(size)
        return data[:1], data[1:]

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.read(self._reading, min(size, 1 << 20))
            except OSError as error:
                raise Gone from error
            if not part:
                raise Gone
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _bounded(self, data: bytes) -> bytes:
        if len(data) > MAX_BYTES:
            raise ValueError(f"a value of more than {MAX_BYTES >> 20} MB as text")
        return data

    # Asking

    def ask(self, *request: Any) -> Any:
        """Asks the other end to perform an operation, and returns the result; answers its requests meanwhile.

        Args:
          request: the operation's name and its operands, see `candidate_end.perform` and `judge_end.REQUESTS`.

        Raises:
          Gone: the other end has closed its pipes.
          Garbled: it sent bytes that are no message.
          BaseException: what the operation raised there.
        """
        with self._lock:
            writer = Writer(self.encode, {}, set())
            message = self._bounded(writer.message(request))
            try:  # noqa: SIM105 - contextlib costs milliseconds
                self._send(b"?", message)
            except Gone:
                pass  # what it sent before it left is read all the same, whichever of the two was faster
            while True:
                kind, data = self._receive()
                if kind == b"?":
                    self._send(b"!", self.answer(data))
                    continue
                # Reading the answer also writes the new content into the objects that the other end changed.
                answer = Reader(self.decode, writer.sent, self.classes).value(data)
                if type(answer) is not tuple or len(answer) != 3:
                    raise Garbled("reply")
                if answer[0] == "ok":
                    return answer[1]
                if not isinstance(answer[1], BaseException):
                    raise Garbled("error")
                raise answer[1]

    # Answering

    def serve(self) -> None:
        """Answers the other end's requests until it closes its pipes; never returns.

        Raises:
          Gone: the other end has closed its pipes.
          Garbled: it sent bytes that are no message.
        """
        self._lock.acquire()
        while True:
            kind, data = self._receive()
            if kind == b"?":
                self._send(b"!", self.answer(data))

    def answer(self, data: bytes) -> bytes:
        """Does what one request asks for, and returns the message that answers it.

        Raises:
          Garbled: the bytes are no request.
        """
        reader = Reader(self.decode, [], self.classes)
        request = reader.value(data)
        if type(request) is not tuple or not request or type(request[0]) is not str:
            raise Garbled("request")
        # Other threads of the candidate may ask while this one works.
        self._unlock()
        try:
            result = ("ok", self.perform(request[0], request[1:]))
        except (Gone, Garbled):
            raise
        except BaseException as error:
            if self.strict and not isinstance(error, Exception):
                raise
            result = ("no", error)
        finally:
            self._relock()
        # What came by value goes back by value where it was changed in place, and else as a reference.
        known_objects = {id(value): (position, value) for position, value in enumerate(reader.mutables)}
        pairs = zip(reader.mutables, reader.before)  # noqa: B905
        changed = [value for value, before in pairs if _changed(value, before)]
        return self._encode_answer(result, known_objects, changed)

    def _encode_answer(self, result: tuple[str, Any], known: dict[int, tuple[int, Any]], changed: list[Any]) -> bytes:
        """The message of an answer; if it cannot be written, the message of the error."""
        attempts: list[tuple[str, Any, Any]] = [(*result, tuple(changed))]
        while True:
            try:
                writer = Writer(self.encode, known, set(map(id, changed)))
                return self._bounded(writer.message(attempts[-1]))
            except (Gone, Garbled):
                raise
            except BaseException as error:
                # First the error that writing raised; where that cannot be written either, a plain one.
                if len(attempts) > 2:
                    raise
                reason = error if len(attempts) == 1 else ValueError("a value that cannot be sent")
                attempts.append(("no", reason, ()))

    def perform(self, op: str, operands: tuple[Any, ...]) -> Any:
        """Performs in this process what the other asks for, and returns the result or raises what it raises."""
        raise NotImplementedError

    # The judge has one thread and keeps the lock.

    def _unlock(self) -> None:
        if not self.strict:
            self._lock.release()

    def _relock(self) -> None:
        if not self.strict:
            self._lock.acquire()


def _changed(value: Any, before: Any) -> bool:
    """Whether a mutable object may have changed since it came in.

    Args:
      value: the object. before: its content then, for a list or bytearray; all others count as changed.
    """
    if type(value) is list and before is not None:
        return len(value) != len(before) or any(item is not old for item, old in zip(value, before))  # noqa: B905
    return type(value) is not bytearray or bytes(value) != before
