"""Reads gin files without running them: what they import, bind and refer to, each with its file and line."""

import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gin import config_parser

from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path
from sml_jax.common.suggest import nearest

DYNAMIC_REGISTRATION = "__gin__.dynamic_registration"


@dataclass(frozen=True)
class Ref:
    """A reference within a value: `@scope/selector` to a class or function, `@scope/selector()` to what a call returns.

    Attributes:
      selector: the name, such as `online.Online`.
      scope: the part before the last slash, which may contain slashes; "" for none.
      called: whether `()` follows.
    """

    selector: str
    scope: str = ""
    called: bool = True

    def __repr__(self) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"@{scope}{self.selector}{'()' if self.called else ''}"


@dataclass(frozen=True)
class Macro:
    """A macro or constant within a value: `%name`.

    Attributes:
      name: without the `%`.
    """

    name: str

    def __repr__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True)
class Import:
    """One import statement of a gin file.

    Attributes:
      statement: as gin parsed it.
      place: where it is written, as `file:line`.
    """

    statement: config_parser.ImportStatement
    place: str


@dataclass
class Unit:
    """A gin file or an override, and the names that it can see: gin does not share imports between files.

    Attributes:
      path: the file, or the override's flag.
      dynamic: whether it has `from __gin__ import dynamic_registration`, so that names are looked up in its imports.
      imports: its imports, by the name that each binds.
    """

    path: str
    dynamic: bool = False
    imports: dict[str, Import] = field(default_factory=dict)


@dataclass(frozen=True)
class Binding:
    """One statement `scope/selector.parameter = value` of a gin file, or one override.

    Attributes:
      unit: the file or override that it is from.
      place: where it is written: `file:line`, or the override's flag.
      scope: "" for none.
      selector: the configurable's name as written; a macro's name if `parameter` is "".
      parameter: "" in a statement `NAME = value` that defines a macro; ":" in the head of a block, `selector:`.
      value: with `Ref` and `Macro` in place of references; None in the head of a block.
    """

    unit: Unit
    place: str
    scope: str
    selector: str
    parameter: str
    value: Any

    @property
    def macro(self) -> str:
        """The name of the macro that this binding defines, "" if it defines none."""
        if self.parameter == "value" and self.selector in ("macro", "gin.macro"):
            return self.scope
        return "" if self.parameter else "/".join(filter(None, [self.scope, self.selector]))


@dataclass(frozen=True)
class GinText:
    """A part of a gin file without `include` statements, which gin can run by itself.

    Attributes:
      path: the file.
      text: with every line at its number in the file, so that gin's errors name the right one. Lines that belong to
        other parts are empty, except imports.
    """

    path: str
    text: str


class _Recorder(config_parser.ParserDelegate):
    """Tells gin's parser to leave references unresolved, as `Ref` and `Macro`."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Ref:
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Ref(selector, scope, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def references(value: Any) -> Iterator[Ref | Macro]:
    """Yields every `Ref` and `Macro` within a parsed value, at any depth."""
    if isinstance(value, Ref | Macro):
        yield value
    elif isinstance(value, dict):
        for item in value.items():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def parse_literal(text: str) -> Any:
    """Parses a text that is one gin value and nothing else.

    Args:
      text: what a gin file has to the right of `=`.

    Returns:
      The Python value, with `Ref` and `Macro` in place of references.

    Raises:
      SyntaxError: `text` is no gin value, or more than one.
    """
    try:
        parser = config_parser.ConfigParser(text, _Recorder())
        value = parser.parse_value()
        # Gin would ignore whatever follows the value.
        while parser.current_token.type != tokenize.ENDMARKER:
            if parser.current_token.string.strip():
                raise SyntaxError(f"unexpected {parser.current_token.string!r} after the value")
            parser.advance_one_line()
    except SyntaxError:
        raise
    except Exception as error:  # the tokenizer's own errors, e.g. a bracket never closed
        raise SyntaxError(str(error.args[0] if error.args else error)) from error
    return value


def find_file(name: str, search_paths: Sequence[str], wanted_by: str = "--gin_file") -> str:
    """Finds a gin file in the search paths; the first path that has it wins.

    Args:
      name: an absolute path, or one relative to a search path.
      search_paths: folders.
      wanted_by: the flag or `file:line` that names the file, for the error.

    Returns:
      The file's path.

    Raises:
      UserError: no search path has such a file, or it is a folder. The error says where the file was looked for and
        which of the files that exist have the nearest names.
    """
    # The first folder that has the file wins, so that a local file takes the place of a shipped one.
    for folder in search_paths:
        path = user_path(Path(folder, name))
        if path.is_file():
            return str(path)
        if name and path.is_dir():
            files_inside = sorted(file.name for file in path.glob("*.gin"))
            raise UserError(
                f"{wanted_by}: {name!r} is a folder: name a file in it{', such as ' * bool(files_inside)}"
                f"{', '.join(files_inside[:3])}"
            )
    # The error suggests files beside the missing one and below gin/, as paths that would be found.
    path_by_stem: dict[str, str] = {}
    for folder in search_paths:
        root = Path(folder)
        existing = [*Path(root, name).parent.glob("*.gin"), *Path(root, "gin").rglob("*.gin")]
        for path in sorted(existing):
            relative = path.relative_to(root) if path.is_relative_to(root) else path
            path_by_stem.setdefault(path.stem, str(relative))
    near_paths = [path_by_stem[stem] for stem in nearest(Path(name).stem, path_by_stem, cutoff=0.3)]
    looked_in = "" if Path(name).is_absolute() else f" in {' or '.join(str(Path(p).absolute()) for p in search_paths)}"
    cure = (
        f"; the nearest are {', '.join(near_paths)}" if near_paths else "; give a path from the folder that holds gin/"
    )
    raise UserError(f"{wanted_by}: no gin file {name!r}{looked_in}{cure}")


def read_files(files: Sequence[str], search_paths: Sequence[str]) -> list[Import | Binding | GinText]:
    """Reads gin files and the files that they include, in the order in which gin would run them.

    Args:
      files: paths, absolute or relative to a search path.
      search_paths: folders.

    Returns:
      The imports and bindings, in order; a later binding of the same name overrides an earlier one. After the
      statements of each part of a file comes the part itself as a GinText, for gin to run.

    Raises:
      UserError: a file is missing, or is not written in gin (file and line).
    """
    statements: list[Import | Binding | GinText] = []
    for name in files:
        _read_file(find_file(name, search_paths), search_paths, statements, ())
    return statements


def _read_file(
    path: str, search_paths: Sequence[str], out: list[Import | Binding | GinText], parents: tuple[str, ...]
) -> None:
    """Appends the statements of one file, and of what it includes, to `out`.

    Args:
      parents: the files through which this one is included, the outermost first.
    """
    if path in parents:
        raise UserError(f"{parents[-1]}: includes {path}, which includes it in turn; remove one of the two includes")
    unit = Unit(path)
    # A file is handed on in parts, since what it includes runs between them.
    text = _text(path)
    lines = text.splitlines()
    import_lines: list[int] = []  # from 1, as gin counts them
    part_start = 1
    try:
        for statement in config_parser.ConfigParser(text, _Recorder()):
            line = statement.location.line_num
            place = f"{path}:{line}"
            match statement:
                case config_parser.IncludeStatement():
                    # What stands above is run first, since what the included file binds overrides it.
                    out.append(GinText(path, _part(lines, import_lines, part_start, line)))
                    part_start = line + 1
                    included_path = find_file(statement.filename, search_paths, place)
                    _read_file(included_path, search_paths, out, (*parents, path))
                case config_parser.ImportStatement():
                    import_lines.append(line)
                    if statement.module == DYNAMIC_REGISTRATION:
                        unit.dynamic = True
                    else:
                        unit.imports[statement.bound_name()] = Import(statement, place)
                        out.append(Import(statement, place))
                case config_parser.BlockDeclaration():
                    out.append(Binding(unit, place, statement.scope, statement.selector, ":", None))
                case config_parser.BindingStatement():
                    scope, selector, parameter = statement.scope, statement.selector, statement.arg_name
                    out.append(Binding(unit, place, scope, selector, parameter, statement.value))
    except UserError:
        raise
    except SyntaxError as error:
        wrong_line = (error.text or "").strip()
        raise UserError(f"{path}:{error.lineno}: not gin: {_reason(error)} Mend this line: {wrong_line}") from error
    except Exception as error:  # the tokenizer's own errors carry (message, (line, column))
        raise UserError(f"{path}: not gin: {error}; look for a bracket or quote that is never closed") from error
    out.append(GinText(path, _part(lines, import_lines, part_start, len(lines) + 1)))


def _part(lines: Sequence[str], import_lines: Sequence[int], start: int, end: int) -> str:
    """Lines `start` to before `end`, counted from 1, and the imports before them, at their places in the file."""
    shown_numbers = {*import_lines, *range(start, end)}
    return "".join(
        f"{line if number in shown_numbers else ''}\n" for number, line in enumerate(lines[: end - 1], start=1)
    )


def _text(path: str) -> str:
    """A gin file's text, without what gin's parser cannot take."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): give a gin file, saved as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): give a gin file that you may read") from error
    if text.startswith("\ufeff"):
        raise UserError(f"{path} begins with a byte order mark, which gin cannot read: save it as UTF-8 without one")
    return text


def _reason(error: SyntaxError) -> str:
    """Gin's objection to a line, without object addresses that Python would print."""
    message = re.sub(r"\s+", " ", error.msg)
    # Python's words for a bare word do not say that the quotes are missing.
    bare_word = re.search(r"Failed to parse token '(.*)'", message)
    return f"{bare_word[1]} is no value: text stands in quotes." if bare_word else message
