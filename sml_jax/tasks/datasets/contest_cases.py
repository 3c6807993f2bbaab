"""The test cases of LiveCodeBench's rows, which the code rows of the sharded format share."""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Mapping
from typing import Any

from sml_jax.tasks.code.problem import CallCase, Case, IoCase
from sml_jax.tasks.problems.rows import BadRow, check_unicode

# Upstream's largest rows are some tens of megabytes of text.
_MAX_BYTES = 1 << 28
# What Python writes before and after the text in a pickle of it.
_AROUND_TEXT = ("PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP")


def cases_of(row: Mapping[str, Any]) -> tuple[Case, ...]:
    """The test cases of a row in LiveCodeBench's format: its public cases, and then its private ones.

    Args:
      row: the row; missing fields count as without cases.

    Raises:
      BadRow: the cases cannot be read.
    """
    public_cases = parse_json(row.get("public_test_cases", "[]"), "public_test_cases")
    private_cases = _private(row.get("private_test_cases", "[]"))
    cases: list[Case] = []
    for name, values in (("public_test_cases", public_cases), ("private_test_cases", private_cases)):
        if not isinstance(values, list):
            raise BadRow(f'field "{name}" is not a list')
        cases.extend(_case(value, name) for value in values)
    return tuple(cases)


def metadata_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The field `metadata` of a row as a dictionary; {} if the row has none.

    Raises:
      BadRow: the field is neither an object nor JSON text of one.
    """
    value = row.get("metadata", {})
    value = parse_json(value, "metadata") if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise BadRow('field "metadata" is not an object')
    return value


def parse_json(value: object, name: str) -> Any:
    """Parses the JSON text in a field of a row.

    Args:
      value: the field's value; a list is returned as it is.
      name: the field's name, for the error.

    Raises:
      BadRow: the value is neither a list nor JSON text.
    """
    if isinstance(value, list):
        return value
    try:
        return json.loads(value) if isinstance(value, str) else _refuse(name)
    except (ValueError, RecursionError):
        return _refuse(name)


def _refuse(name: str) -> None:
    raise BadRow(f'field "{name}" is not JSON')


def _case(value: object, name: str) -> Case:
    """Makes a case of one entry of a row's field `name`."""
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("input", "output")):
        raise BadRow(f'field "{name}" holds a case without input and output')
    input_text, output_text = (check_unicode(value[key], name) for key in ("input", "output"))
    kind = value.get("testtype", "functional")
    if kind == "stdin":
        return IoCase(input_text, output_text)
    if kind != "functional":
        raise BadRow(f'field "{name}" holds a case of the unknown type {str(kind)[:20]!r}')
    # Each line of the input is one argument, as JSON.
    arguments = [parse_json(line, name) for line in input_text.split("\n") if line.strip()]
    return CallCase(json.dumps(arguments), json.dumps(parse_json(output_text, name)))


def _private(value: object) -> Any:
    """Private cases are JSON text or, to save room, base64 of zlib of a pickle of that text."""
    try:
        return parse_json(value, "private_test_cases")
    except BadRow:
        if not isinstance(value, str):
            raise
    # Unpacking stops at a size, as a few bytes may unpack to any number of them.
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(value, validate=True), _MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise BadRow(f'field "private_test_cases" unpacks to more than {_MAX_BYTES >> 20} MiB')
        json_text = _text_in(data)
    except BadRow:
        raise
    except (binascii.Error, zlib.error, ValueError) as error:
        raise BadRow(f'field "private_test_cases" cannot be unpacked ({type(error).__name__})') from None
    return parse_json(json_text, "private_test_cases")


def _text_in(pickled: bytes) -> str:
    """The text that a pickle is. Nothing is unpickled: that may run code, and ten bytes may ask for 64 GB of memory."""
    texts = []
    for code, argument, _ in pickletools.genops(pickled):
        if "UNICODE" in code.name:
            texts.append(argument)
        elif code.name not in _AROUND_TEXT:
            raise ValueError(f"{code.name} has no place in test cases")
    if len(texts) != 1:
        raise ValueError(f"{len(texts)} texts")
    return str(texts[0])
