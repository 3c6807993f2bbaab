"""`--gin_file=F` and `--gin.NAME=VALUE` on a command line, and the run of gin that they stand for.

Gin's own state is global; only programs call `parse_gin`. The files use `from __gin__ import dynamic_registration`, so
the library needs no decorator and knows nothing of gin. Every name is looked up before gin runs (`gin_names`), because
gin lets a misspelt macro pass in silence and reports other mistakes with a traceback.
"""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin
from gin import config_parser

from sml_jax.common.suggest import unknown
from sml_jax.errors import UserError
from sml_jax.gin_config.names import Names, check_parameter, load
from sml_jax.gin_config.reader import Binding, GinText, Import, Unit, parse_literal, read_files
from sml_jax.gin_config.renamed import renamed
from sml_jax.gin_config.types import check_types

_KEY = re.compile(r"[A-Za-z_]\w*([./][A-Za-z_]\w*)*")
# What the files last read bind or refer to: gin itself also knows what earlier ones in this process did.
_named: set[Callable[..., Any]] = set()
_NOT_PYTHON = {"true": "True", "false": "False", "none": "None", "null": "None"}


class GinFlags(NamedTuple):
    """What a command line says to gin, and what it says to the program."""

    files: tuple[str, ...]
    bindings: tuple[str, ...]  # `NAME=VALUE` each
    rest: tuple[str, ...]


def split_gin_flags(argv: Sequence[str]) -> GinFlags:
    """Takes the gin flags out of a command line.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The gin files and the bindings in their order, and the other arguments.

    Raises:
      UserError: a gin flag without `=`, or without a name or a file.
    """
    files, bindings, rest = [], [], []
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
            rest.append(argument)
    return GinFlags(tuple(files), tuple(bindings), tuple(rest))


def quoted(value: str, place: str = "value") -> str:
    """Gin's spelling of a value from the command line, where a shell has eaten the quotes of a string.

    Args:
      value: a Python literal, `@reference`, `%macro`, or any other text, which is taken for a string.
      place: the flag, for the error.

    Returns:
      `value` itself if gin can read it, else its text in quotes.

    Raises:
      UserError: an unfinished list, string or reference, or a constant of another language (`true`).
    """
    try:
        parse_literal(value)
        return value
    except SyntaxError as error:
        if value[:1] in tuple("@%[({'\""):
            raise UserError(f"{place}: {value} is neither a Python literal nor @reference nor %macro") from error
    if value in _NOT_PYTHON:
        raise UserError(f"{place}: write {_NOT_PYTHON[value]}, or \"'{value}'\" for the text {value!r}")
    return repr(value)


def default_search_paths() -> tuple[str, str]:
    """The folders in which paths of gin files are looked up: the current folder, then the one that holds our `gin/`.

    A wheel brings `gin/` inside the package; a clone has it beside the package.
    """
    package = Path(__file__).parents[1]
    return ".", str(package if (package / "gin").is_dir() else package.parent)


def parse_gin(
    files: Sequence[str],
    bindings: Sequence[str],
    search_paths: Sequence[str] | None = None,
    *,
    stand_in: str | None = None,
) -> tuple[str, ...]:
    """Sets gin's configuration, afresh, from files and then from overrides, and locks it.

    Args:
      files: gin files, later ones over earlier ones; relative to a search path.
      bindings: overrides, `scope/module.Thing.parameter=VALUE` or `MACRO=VALUE`; `module.` may be left out where
        that is clear. Each must name a thing that the files bind or refer to, or a macro that they define or use.
      search_paths: folders; `default_search_paths()` if None.
      stand_in: a text in place of every value that is required and not given; None makes that an error.

    Returns:
      The names of the values that `stand_in` stands for.

    Raises:
      UserError: anything wrong with the files or the overrides, on one line, with the cure.
    """
    search_paths = default_search_paths() if search_paths is None else search_paths
    gin.clear_config()
    names = Names()
    statements = read_files(files, search_paths)
    imports: dict[str, Import] = {}
    for statement in statements:
        if isinstance(statement, Import):
            load(statement)
            imports.setdefault(statement.statement.bound_name(), statement)
        elif isinstance(statement, Binding):
            names.add(statement)
    # References first: an override may set a parameter of a thing that only another override brings in.
    parsed = [_parse_override(text, imports) for text in bindings]
    for override in parsed:
        names.refer(override)
    for override in parsed:
        _add_override(names, override)
    for override in parsed:
        if not override.macro:
            names.check_effect(override)
    missing = tuple(names.required()) if stand_in is not None else ()
    if missing:
        parse_gin(files, [*bindings, *(f"{name}={stand_in!r}" for name in missing)], search_paths)
        return missing
    names.check_given()
    check_types(names)
    try:
        # Gin is handed texts, since it would look for included files by rules of its own.
        for part in statements:
            if isinstance(part, GinText):
                gin.parse_config(_named_text(part))
        for override, text in zip(parsed, bindings, strict=True):
            gin.parse_config(_statement(names, override, text.partition("=")[2]))
        gin.finalize()
    except Exception as error:  # what the checks above do not know; gin's place is on the lines that follow
        raise UserError("gin: " + re.sub(r"\s+", " ", str(error))) from error
    _named.clear()
    _named.update(target.obj for target in names.targets.values())
    return ()


def configured(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function or class with the parameters that the gin files bind.

    Args:
      function: as imported from its module.

    Returns:
      Gin's wrapper of it.

    Raises:
      UserError: the files given neither bind nor refer to it.
    """
    if function not in _named:
        name = f"{function.__module__.split('.')[-1]}.{function.__qualname__}"
        raise UserError(f"no --gin_file configures {name}: give a recipe, e.g. one of gin/recipes/*.gin")
    return gin.get_configurable(function)


def _named_text(part: GinText) -> io.StringIO:
    """A text as an open file, whose name gin's errors give."""
    file = io.StringIO(part.text)
    file.name = part.path
    return file


def _check_key(flag: str) -> None:
    if not _KEY.fullmatch(flag.removeprefix("--gin.")):
        raise UserError(f"{flag} is no gin name: write --gin.MACRO=VALUE or --gin.module.Thing.parameter=VALUE")


def _parse_override(text: str, imports: dict[str, Import]) -> Binding:
    key, _, value = text.partition("=")
    place = f"--gin.{key}"
    _check_key(place)
    scope, selector, parameter = config_parser.parse_binding_key(key)
    unit = Unit(place, dynamic=True, imports=imports)
    return Binding(unit, place, scope, selector, parameter, parse_literal(quoted(value, place)))


def _add_override(names: Names, override: Binding) -> None:
    if override.macro:
        known = {*names.macros, *names.used_macros()}
        if override.macro not in known:
            if sentence := renamed(override.macro):
                raise UserError(f"{override.place}: {sentence}")
            bound = [f"{names.targets[full].written}.{parameter}" for _, full, parameter in names.bound]
            raise unknown("macro or parameter", override.macro, {*known, *bound}, override.place)
        names.macros[override.macro] = override
    else:
        target = names.match(override.selector, override.place)
        check_parameter(target, override.parameter, override.place)
        names.bound[override.scope, target.full, override.parameter] = override


def _statement(names: Names, override: Binding, value: str) -> str:
    """The override as a gin text of its own: gin keeps imports to a file, so the files' imports stand before it."""
    imports = dict(override.unit.imports)
    left = override.macro
    if not left:
        target = names.match(override.selector, override.place)
        if target.source is not None:
            imports[target.source.statement.bound_name()] = target.source
        left = "/".join(filter(None, [override.scope, f"{target.written}.{override.parameter}"]))
    head = ["from __gin__ import dynamic_registration", *(item.statement.format() for item in imports.values())]
    return "\n".join([*head, f"{left} = {quoted(value, override.place)}"])
