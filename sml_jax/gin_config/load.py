"""From gin files and overrides to an Experiment: the one place where programs meet gin.

Gin's own state is global, so only programs call these functions. The files use `from __gin__ import
dynamic_registration`, so the library needs no decorators and knows nothing of gin. Every name is looked up and every
type is checked before gin runs, because gin lets a misspelt macro pass in silence and reports other mistakes with a
traceback.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gin

from sml_jax.common.errors import UserError
from sml_jax.common.suggest import unknown_name
from sml_jax.gin_config.names import Names, check_parameter, load_import
from sml_jax.gin_config.overrides import parse_override, quoted
from sml_jax.gin_config.reader import Binding, GinText, Import, read_files
from sml_jax.gin_config.renamed import renamed
from sml_jax.gin_config.types import check_types
from sml_jax.run.experiment import Experiment

# Python's words for arguments that nothing binds, and gin's for the function that was called, on a later line.
_MISSING_ARGUMENTS = re.compile(r"missing (?:\d+|a) required .*?: (.*)")
_CALLED = re.compile(r"In call to configurable '(?:\w+\.)*(\w+)'")
# What the files last read bind or refer to. Gin also remembers what earlier files in this process did.
_configurables: set[Callable[..., Any]] = set()


def load_experiment(files: Sequence[str], bindings: Sequence[str]) -> tuple[Experiment, str]:
    """Makes the experiment that gin files describe.

    Args:
      files: gin files, relative to a search path; later ones override earlier ones.
      bindings: overrides, `NAME=VALUE` each.

    Returns:
      The experiment, and the operative configuration (every value that was used) as gin text.

    Raises:
      UserError: something is wrong with the files, the overrides or their values.
    """
    parse_gin(files, bindings)
    make_experiment = configured(Experiment)
    try:
        experiment = make_experiment()
    except TypeError as error:
        raise UserError(_missing_arguments(str(error))) from error
    except RecursionError as error:
        raise UserError("gin: something is made of itself: look for @references that go in a circle") from error
    return experiment, gin.operative_config_str()


def parse_gin(
    files: Sequence[str],
    bindings: Sequence[str],
    search_paths: Sequence[str] | None = None,
    *,
    stand_in: str | None = None,
) -> tuple[str, ...]:
    """Replaces gin's global configuration by that of files and overrides, and locks it.

    Args:
      files: gin files, relative to a search path; later ones override earlier ones.
      bindings: overrides, `scope/module.Thing.parameter=VALUE` or `MACRO=VALUE`; `module.` may be left out where only
        one module fits. Each must name a thing that the files bind or refer to, or a macro that they define or use.
      search_paths: folders; `default_search_paths()` if None.
      stand_in: a text that becomes the value of everything that is required and not given; None makes such a value an
        error.

    Returns:
      The names of the values that are `stand_in`, as `--gin.NAME` takes them.

    Raises:
      UserError: something is wrong with the files or the overrides. The text is one line and names the cure.
    """
    search_paths = default_search_paths() if search_paths is None else search_paths
    gin.clear_config()
    names = Names()

    # The files: import what they name and check what they bind, in the order in which gin will run them.
    statements = read_files(files, search_paths)
    imports: dict[str, Import] = {}
    for statement in statements:
        if isinstance(statement, Import):
            load_import(statement)
            imports.setdefault(statement.statement.bound_name(), statement)
        elif isinstance(statement, Binding):
            names.add(statement)

    # The overrides. Their references come first, since one may set a parameter of a thing that another brings in.
    overrides = [parse_override(text, imports) for text in bindings]
    for override in overrides:
        names.refer(override)
    for override in overrides:
        _add_override(names, override)
    for override in overrides:
        if not override.macro:
            names.check_effect(override)

    # What is still missing is either given the stand-in, by starting again with more overrides, or an error.
    missing_names = tuple(names.required()) if stand_in is not None else ()
    if missing_names:
        parse_gin(files, [*bindings, *(f"{name}={stand_in!r}" for name in missing_names)], search_paths)
        return missing_names
    names.check_given()
    check_types(names)

    # Gin is handed texts in place of paths, since it would look for included files by rules of its own.
    try:
        for gin_text in statements:
            if isinstance(gin_text, GinText):
                gin.parse_config(_as_file(gin_text))
        for override, text in zip(overrides, bindings, strict=True):
            gin.parse_config(_override_as_gin(names, override, text.partition("=")[2]))
        gin.finalize()
    except Exception as error:  # what the checks above do not know; gin's place is on the lines that follow
        raise UserError("gin: " + re.sub(r"\s+", " ", str(error))) from error
    _configurables.clear()
    _configurables.update(target.obj for target in names.targets.values())
    return ()


def configured(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function or class with its parameters bound as the gin files say.

    Args:
      function: the function or class as imported from its module.

    Returns:
      Gin's wrapper of it, to be called in its place.

    Raises:
      UserError: the files read last neither bind nor refer to it.
    """
    if function not in _configurables:
        name = f"{function.__module__.split('.')[-1]}.{function.__qualname__}"
        raise UserError(f"no --gin_file configures {name}: give a recipe, e.g. one of gin/recipes/*.gin")
    return gin.get_configurable(function)


def default_search_paths() -> tuple[str, str]:
    """The folders in which relative paths of gin files are looked up, in this order.

    They are the current folder, and the folder that holds this project's `gin/` (in a wheel the package itself, in a
    clone the folder above it).
    """
    package = Path(__file__).parents[1]
    return ".", str(package if (package / "gin").is_dir() else package.parent)


def _add_override(names: Names, override: Binding) -> None:
    """Checks that an override names something that exists, and adds it to `names`."""
    if override.macro:
        known_macros = {*names.macros, *names.used_macros()}
        if override.macro not in known_macros:
            if rename_sentence := renamed(override.macro):
                raise UserError(f"{override.place}: {rename_sentence}")
            parameters = [f"{names.targets[full_name].written}.{parameter}" for _, full_name, parameter in names.bound]
            raise unknown_name("macro or parameter", override.macro, {*known_macros, *parameters}, override.place)
        names.macros[override.macro] = override
    else:
        target = names.match(override.selector, override.place)
        check_parameter(target, override.parameter, override.place)
        names.bound[override.scope, target.full, override.parameter] = override


def _override_as_gin(names: Names, override: Binding, value: str) -> str:
    """The override as a gin text that stands alone: gin keeps imports to a file, so the text repeats the files'."""
    imports = dict(override.unit.imports)
    left_side = override.macro
    if not left_side:
        target = names.match(override.selector, override.place)
        if target.source is not None:
            imports[target.source.statement.bound_name()] = target.source
        left_side = "/".join(filter(None, [override.scope, f"{target.written}.{override.parameter}"]))
    import_lines = [
        "from __gin__ import dynamic_registration",
        *(imported.statement.format() for imported in imports.values()),
    ]
    return "\n".join([*import_lines, f"{left_side} = {quoted(value, override.place)}"])


def _as_file(part: GinText) -> io.StringIO:
    """A text as an open file with a name, which gin's errors then mention."""
    file = io.StringIO(part.text)
    file.name = part.path
    return file


def _missing_arguments(reason: str) -> str:
    """Turns Python's TypeError about arguments that nothing binds into an error about gin files."""
    first_line = reason.splitlines()[0]
    arguments_match, called_match = _MISSING_ARGUMENTS.search(first_line), _CALLED.search(reason)
    if not arguments_match or not called_match:
        return f"gin: {first_line}"
    flags = " ".join(f"--gin.{called_match[1]}.{name}=..." for name in re.findall(r"'(\w+)'", arguments_match[1]))
    return f"gin: {called_match[1]} is not given {arguments_match[1]}: bind it in a gin file, or add {flags}"
