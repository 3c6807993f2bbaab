"""Turns a string of bytes, whoever made it, into the values of one case."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")
_DEEP = re.compile(r'"@deep ([0-9]+)@"')

# Characters that have broken programs before: no text at all, marks of tokenizers, combining and bidirectional marks,
# digits of other scripts, case that changes length, ends of lines that are not "\n".
ODD = (
    *"\x00\x1b\x85\xa0\u2028\u200b\ufeff\ufffd\u2581\u0130\ufb03\u00df\u0301\u1100\u1161\u202e\u0663\u00bd\u00b2",
    *("\ud800", "\udfff", "e\u0301", "\U0001f468\u200d\U0001f469", "\U0010ffff", "\r\n", "\r"),
)
MAX_CHARACTERS = 100_000


class Source:
    """Reads values off a string of bytes, from the front. Past the end every value is its smallest one.

    A small change of the bytes is therefore a small change of the case, which fuzzers that follow coverage rely on.

    Args:
      data: the bytes.
    """

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    @property
    def done(self) -> bool:
        """Whether every byte has been read."""
        return self._at >= len(self._data)

    def bytes(self, count: int) -> bytes:
        """The next bytes as they are, at most `count` of them."""
        chunk = self._data[self._at : self._at + count]
        self._at += len(chunk)
        return chunk

    def integer(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        span = high - low + 1
        return low + int.from_bytes(self.bytes(((span - 1).bit_length() + 7) // 8), "big") % span

    def flag(self, one_in: int = 2) -> bool:
        """True for one in `one_in` values of the bytes."""
        return self.integer(0, one_in - 1) == one_in - 1

    def pick(self, choices: Sequence[T]) -> T:
        """One of several."""
        return choices[self.integer(0, len(choices) - 1)]

    def character(self) -> str:
        """One character (or a few that belong together), odd ones often."""
        # Printable ASCII, a character of `ODD`, one of the first alphabets, or any.
        kind = self.integer(0, 7)
        if kind < 3:
            return chr(self.integer(0x20, 0x7E))
        if kind < 6:
            return self.pick(ODD)
        return chr(self.integer(0, 0x7FF) if kind == 6 else self.integer(0, 0x10FFFF))

    def text(self, words: Sequence[str] = (), most: int = 40, longest: int = 400) -> str:
        """A text of words, spaces, digits and odd characters, parts of which may be repeated many times.

        Args:
          words: what it is mostly made of.
          most: pieces at most.
          longest: characters at most; texts near it are rare and are repetitions.
        """
        # A piece is a word, a separator, a number, a character, or some earlier pieces again and again.
        pieces: list[str] = []
        size = 0
        for _ in range(self.integer(0, most)):
            kind = self.integer(0, 15)
            if kind < 9 and words:
                piece = self.pick(words)
            elif kind < 11:
                piece = self.pick((" ", "\n", ", ", ". ", "\t", "  \n\n"))
            elif kind < 13:
                piece = str(self.integer(0, 10 ** self.integer(1, 6)))
            elif kind < 15:
                piece = self.character()
            else:
                chunk = "".join(pieces[-self.integer(1, 4) :]) or self.character()
                piece = chunk * min(self.integer(2, 1 << self.integer(2, 16)), max(longest // len(chunk), 1))
            pieces.append(piece)
            size += len(piece)
            if size >= longest or self.done:
                break
        return "".join(pieces)[:longest]

    def pumped(self, words: Sequence[str], longest: int) -> str:
        """A few words, then others again and again, then a few more.

        A careless regular expression takes the square of the length of such a text.

        Args:
          words: some two to five of them make all of it. longest: characters at most, the ends are never cut off.
        """
        chosen = [self.pick(words) for _ in range(self.integer(1, 3))]
        chosen += [self.pick((" ", "\n", "1", "x", ",", *words)) for _ in range(self.integer(1, 2))]
        front, chunk, back = ("".join(self.pick(chosen) for _ in range(self.integer(low, 3))) for low in (0, 1, 0))
        middle_length = max(longest - len(front) - len(back), 1)
        return f"{front}{chunk * min(1 << self.integer(2, 16), max(middle_length // len(chunk), 1))}{back}"


def changed(source: Source, value: object, depth: int = 0) -> object:
    """A copy of a JSON value with a few of its parts replaced, doubled or taken away.

    Args:
      source: says which parts, and how.
      value: nested dicts, lists and scalars; it is not changed.
      depth: of `value` in the whole.
    """
    # Now and then something else altogether.
    if source.flag(12) or depth > 12:
        return odd_value(source)
    # In a dict or a list up to two members change.
    if isinstance(value, dict):
        names = list(value)
        result = {name: value[name] for name in names}
        for _ in range(source.integer(0, 2) if names else 0):
            name = source.pick(names)
            kind = source.integer(0, 7)
            if kind == 0:
                result.pop(name, None)
            elif kind == 1:
                result[source.text(names, 3, 20)] = result.get(name)
            else:
                result[name] = changed(source, value[name], depth + 1)
        return result
    if isinstance(value, list):
        items = list(value)
        for _ in range(source.integer(0, 2) if items else 0):
            at = source.integer(0, min(len(items), 1 << 16) - 1)
            kind = source.integer(0, 4)
            if kind == 0:
                items.append(items[at])
            elif kind == 1 and len(items) > 1:
                del items[at]
            else:
                items[at] = changed(source, items[at], depth + 1)
        return items
    # Scalars: a text that still resembles the old one, a number next to it, or anything.
    if isinstance(value, str) and source.flag():
        return value + source.text((value,), 3, 200) if source.flag() else source.text((value,), 4, 200)
    if isinstance(value, bool) or value is None:
        return odd_value(source)
    if isinstance(value, int) and source.flag():
        return value + source.integer(-3, 3)
    return odd_value(source)


def odd_value(source: Source) -> object:
    """A JSON value that programs may not expect: an empty one, a limit of a number type, odd text, deep nesting."""
    kind = source.integer(0, 15)
    if kind < 6:
        return (None, True, False, [], {}, "")[kind]
    if kind < 9:
        return source.pick((0, -1, 1, 2, 255, 2**31, 2**32 - 1, 2**63, 10**18, 10**400))
    if kind < 11:
        return source.pick((0.0, -0.0, 0.5, 1e-300, 1e308, 1e16, float("inf"), float("nan"), -1.5))
    if kind < 13:
        return source.text((), 4, 60)
    if kind == 13:
        return [odd_value(source) for _ in range(source.integer(1, 3))]
    if kind == 14:
        return {source.text(("a", "type", "id"), 2, 20): odd_value(source)}
    # `dumps` writes this as brackets in brackets, more than `json.dumps` can.
    return f"@deep {source.pick((5, 200, 900, 990, 1500, 100_000))}@"


def dumps(value: object, **settings: Any) -> str:
    """JSON text of a value from `changed`: what is nested too deeply for `json.dumps` is put in as text."""
    text = json.dumps(value, **settings)
    return _DEEP.sub(lambda mark: "[" * int(mark[1]) + "]" * int(mark[1]), text)


def broken(source: Source, content: bytes) -> bytes:
    """The bytes of a file with a few of them changed, cut off, doubled or put in."""
    data = bytearray(content)
    for _ in range(source.integer(0, 4)):  # up to four injuries
        at = source.integer(0, max(len(data) - 1, 0))
        kind = source.integer(0, 5)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + source.integer(1, 16)]
        elif kind == 2:
            data[at:at] = source.bytes(source.integer(1, 16))
        elif kind == 3:
            data[at:at] = data[at : at + source.integer(1, 64)]
        elif data:
            data[at : at + 1] = source.pick((b"\x00", b"\xff", b"\x80", b"\n", b'"', b"{", b"9", source.bytes(1)))
    return bytes(data)
