"""Changing a SentencePiece model file before it is loaded, by editing its bytes.

A `.model` file is one protocol buffer, `ModelProto` in
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto. Field 1 is a piece (in it, field 1 is
the text and 3 the type), field 3 the normaliser (in it, 3 is `add_dummy_prefix`), field 4 a self-test. When a field
comes twice the last one counts, and messages that come twice are merged, so changes can be appended. The classes that
`sentencepiece` ships for this file cannot be imported beside an older protobuf package, hence the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256

# Numbers of fields in ModelProto, then values of a piece's type: a number, and a whole encoded field.
_PIECE, _SELF_TEST = 1, 4
_USER_DEFINED, _CONTROL = 4, b"\x18\x03"
# Fields of a model, most of which are pieces, and of a message in it. The largest published one has 262,144 pieces.
_MAX_FIELDS, _MAX_INNER_FIELDS = 400_000, 16
# The normaliser and its inverse, and in both the table of replacements, `precompiled_charsmap`.
_REPLACING, _TABLE = (3, 5), 2
# SHA-256 of the tables that training writes (0.2) for the rules nmt_nfkc, nfkc, nmt_nfkc_cf and nfkc_cf.
_USUAL_TABLES = frozenset(
    {
        "1e2c7b43d3ee9755ceaa2ac335e253d8703604e0249ee1e81156c92b46423844",
        "7e46d9e08af4b6a37991b04fb8388644c1595a0abcd0f26d6a5d575e2a3663ea",
        "2c03512e62f9ed965ec90d85314211b63b5b8aa0395311ea2147eec9ff738907",
        "d8dfef3d6db0eef0742f8b55a73aee7fce6c1e21d26a09b8d3d4b52c42a791cb",
    }
)
# An encoded normaliser with add_dummy_prefix = false.
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"


def rewrite_model(model: bytes, is_control: Callable[[str], bool], dummy_prefix: bool) -> bytes:
    """Turns some user-defined symbols of a SentencePiece model into control tokens. Ids do not change.

    A text that spells a user-defined symbol is encoded to it. A text that spells a control token is not: it is cut into
    ordinary pieces.

    Args:
      model: the content of a `.model` file.
      is_control: a function from the text of a user-defined symbol to whether it becomes a control token.
      dummy_prefix: False makes the model add no space in front of texts; True leaves its setting unchanged.

    Returns:
      The content of the changed `.model` file.

    Raises:
      ValueError: `model` is not a protocol buffer.
    """
    encoded_fields = []
    for field, wire_type, content in _fields(model):
        if field == _SELF_TEST:
            # The self-test expects the tokens of the unchanged model.
            continue
        if field == _PIECE and isinstance(content, bytes) and _is_user_defined(content, is_control):
            # The last of two types counts.
            content += _CONTROL
        encoded_fields.append(_encode_field(field, wire_type, content))
    # A second normaliser is merged into the first, field by field.
    return b"".join(encoded_fields if dummy_prefix else [*encoded_fields, _NO_DUMMY_PREFIX])


def is_usual(model: bytes) -> bool:
    """Whether a model replaces characters by no table, or by one that the library itself makes.

    The library reads the table without a look, and it may replace a character by any text.

    Args:
      model: the content of a `.model` file.

    Raises:
      ValueError: `model` is not a protocol buffer.
    """
    tables = [
        content
        for spec_field, _, spec in _fields(model)
        if spec_field in _REPLACING and isinstance(spec, bytes)
        for field, _, content in _fields(spec, _MAX_INNER_FIELDS)
        if field == _TABLE
    ]
    # No table, or an empty one, replaces nothing.
    return all(
        isinstance(table, bytes) and (not table or sha256(table).hexdigest() in _USUAL_TABLES) for table in tables
    )


def _is_user_defined(piece: bytes, is_control: Callable[[str], bool]) -> bool:
    """Whether an encoded piece is a user-defined symbol that becomes a control token."""
    content_of_field = {field: content for field, _, content in _fields(piece, _MAX_INNER_FIELDS)}
    piece_text = content_of_field.get(1)
    return (
        content_of_field.get(3) == _USER_DEFINED and isinstance(piece_text, bytes) and is_control(piece_text.decode())
    )


def _fields(message: bytes, most: int = _MAX_FIELDS) -> Iterator[tuple[int, int, bytes | int]]:
    """Yields number, wire type and content of each field: an int for a varint (wire type 0), else bytes.

    Raises a ValueError if the message is none, or has more than `most` fields: each takes time in Python.
    """
    start = count = 0
    while start < len(message):
        count += 1
        if count > most:
            raise ValueError(f"more than {most:,} fields in one message")
        tag, start = _read_varint(message, start)
        wire_type = tag & 7
        if wire_type == 0:
            value, start = _read_varint(message, start)
            yield tag >> 3, wire_type, value
            continue
        # Wire type 2 gives its length; 1 and 5 are numbers of fixed size.
        if wire_type == 2:
            size, start = _read_varint(message, start)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if start + size > len(message):
            raise ValueError("cut off")
        yield tag >> 3, wire_type, message[start : start + size]
        start += size


def _encode_field(field: int, wire: int, content: bytes | int) -> bytes:
    """The bytes of one field; the inverse of `_fields`."""
    tag = _encode_varint(field << 3 | wire)
    if isinstance(content, int):
        return tag + _encode_varint(content)
    return tag + (_encode_varint(len(content)) if wire == 2 else b"") + content


def _read_varint(message: bytes, start: int) -> tuple[int, int]:
    """The number that is encoded from `start` on, and the index after it."""
    value = shift = 0
    # Seven bits a byte, the lowest first; the highest bit says that more bytes follow. Numbers have 64 bits at most.
    while start < len(message) and shift < 70:
        byte = message[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise ValueError("cut off, or a number of more than 64 bits")


def _encode_varint(value: int) -> bytes:
    """The bytes of a number; the inverse of `_read_varint`."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
