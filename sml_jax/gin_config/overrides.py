"""The gin part of a command line: `--gin_file=FILE` and `--gin.NAME=VALUE`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gin import config_parser

from sml_jax.common.errors import UserError
from sml_jax.gin_config.reader import Binding, Import, Unit, parse_literal

_KEY = re.compile(r"[A-Za-z_]\w*([./][A-Za-z_]\w*)*")
# Constants of other languages, which would silently become strings.
_PYTHON_SPELLING = {"true": "True", "false": "False", "none": "None", "null": "None"}


class GinFlags(NamedTuple):
    """A command line, split into gin's part and the program's.

    Attributes:
      files: the values of `--gin_file`, in order.
      bindings: the overrides from `--gin.NAME=VALUE`, as `NAME=VALUE`, in order.
      rest: all other arguments, unchanged.
    """

    files: tuple[str, ...]
    bindings: tuple[str, ...]
    rest: tuple[str, ...]


def split_gin_flags(argv: Sequence[str]) -> GinFlags:
    """Splits the gin flags off a command line.

    Args:
      argv: the arguments, without the program's name.

    Raises:
      UserError: a gin flag has no value, or what follows `--gin.` is no gin name.
    """
    # A value may hold anything, so only the part before the first `=` is looked at.
    files, bindings, other_arguments = [], [], []
    for argument in argv:
        flag, equals, value = argument.partition("=")
        if flag == "--gin_file":
            if not value:
                raise UserError("--gin_file needs a file: write --gin_file=FILE, with = and no space")
            files.append(value)
        elif flag.startswith("--gin."):
            if not equals or not value:
                raise UserError(f"{flag} needs a value: write {flag}=VALUE, with = and no space")
            _check_key(flag)
            bindings.append(argument.removeprefix("--gin."))
        else:
            other_arguments.append(argument)
    return GinFlags(tuple(files), tuple(bindings), tuple(other_arguments))


def quoted(value: str, flag: str = "value") -> str:
    """Spells a value from the command line as gin does, since a shell removes the quotes around a string.

    Args:
      value: a Python literal, `@reference` or `%macro`. Any other text is taken for a string.
      flag: the flag that the value belongs to, for the error.

    Returns:
      `value` itself if gin can read it, else its text in quotes.

    Raises:
      UserError: `value` is an unfinished list, string or reference, or a constant of another language (`true`).
    """
    try:
        parse_literal(value)
        return value
    except SyntaxError as error:
        # What begins like a list, string or reference was not meant as plain text.
        if value[:1] in tuple("@%[({'\""):
            raise UserError(f"{flag}: {value} is neither a Python literal nor @reference nor %macro") from error
    if value in _PYTHON_SPELLING:
        raise UserError(f"{flag}: write {_PYTHON_SPELLING[value]}, or \"'{value}'\" for the text {value!r}")
    return repr(value)


def parse_override(text: str, imports: Mapping[str, Import]) -> Binding:
    """Parses one override into a Binding.

    Args:
      text: `NAME=VALUE`, as after `--gin.`.
      imports: the imports of all gin files, by the name that each binds. The override may use all of them.

    Raises:
      UserError: the name or the value cannot be read.
    """
    key, _, value = text.partition("=")
    flag = f"--gin.{key}"
    # Checked again here, since a library call may bring bindings that no command line has seen.
    _check_key(flag)
    scope, selector, parameter = config_parser.parse_binding_key(key)
    unit = Unit(flag, dynamic=True, imports=dict(imports))
    return Binding(unit, flag, scope, selector, parameter, parse_literal(quoted(value, flag)))


def _check_key(flag: str) -> None:
    """Raises UserError unless what follows `--gin.` is a gin name."""
    if not _KEY.fullmatch(flag.removeprefix("--gin.")):
        raise UserError(f"{flag} is no gin name: write --gin.MACRO=VALUE or --gin.module.Thing.parameter=VALUE")
