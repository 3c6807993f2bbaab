"""Mistakes in code of the user's own: a task, a teacher or a method. They end a run, with the user's own traceback.

What goes wrong with one dialogue ends that dialogue alone: a verifier that gives up, an endpoint that is away, a text
that cannot be read. A misspelt name in the user's own teacher goes wrong in every dialogue, and would leave a run that
trains on nothing. So errors of the types below, which Python raises where code asks an object for what it does not
have, are never taken for the fault of a model or of the data if they come out of the user's own code.
"""

from __future__ import annotations

import re
import site
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

MISTAKES = (
    TypeError,
    AttributeError,
    NameError,
    KeyError,
    IndexError,
    ImportError,
    NotImplementedError,
    AssertionError,
)
_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = (
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())),
)


class WrongResult(TypeError):
    """A function of the user's own returned something else than its protocol says."""


def raise_own_mistake(error: Exception, doing: str) -> None:
    """Raises `error` again if it is a mistake in code of the user's own, and otherwise returns.

    The error that is raised has a line below its traceback that says whose function it was.

    Args:
      error: as it was caught, with its traceback.
      doing: what was being done, such as "judging a student's turn".
    """
    # These two are raised by this package, about what a function of the user's own returned or lacks.
    told_by_us = isinstance(error, WrongResult | NotImplementedError)
    if told_by_us or (isinstance(error, MISTAKES) and _own_place(error)):
        _add_note(
            error,
            doing,
            "so it ends the run. Where a model's words or a problem's data may cause it, raise a ValueError instead, "
            "which costs that dialogue alone",
        )
        raise error


@contextmanager
def own_code(doing: str) -> Iterator[None]:
    """A context manager that lets every error through, with a line that says whose function it was.

    Args:
      doing: what the body does, such as "making learning signals".
    """
    try:
        yield
    except Exception as error:
        _add_note(error, doing, "so it ends the run")
        raise


def _add_note(error: Exception, doing: str, end: str) -> None:
    """Adds the line that says whose function raised `error`, unless it is no function of the user's or has one."""
    place = _own_place(error)
    if not getattr(error, "__notes__", ()) and (place or isinstance(error, WrongResult | NotImplementedError)):
        error.add_note(f"This came up while {doing}, {f'in {place}, ' if place else ''}in code of your own, {end}.")


def _own_place(error: Exception) -> str:
    """The innermost function of the user's own that an error went through, with its file and line; "" for none."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_own(frame.f_globals.get("__name__", ""), frame.f_globals.get("__file__")):
            place = f"{frame.f_code.co_qualname} ({Path(frame.f_code.co_filename).name}, line {line})"
    return place


def _is_own(module: str, file: str | None) -> bool:
    """Whether a module is the user's own: neither of this package nor of Python or an installed library.

    Args:
      module: its name. file: where it was read from; None if from no file.
    """
    # A notebook or a command line has no file; code that a library has generated has one that is no path.
    if not file or file.startswith("<"):
        return module == "__main__"
    path = Path(file).resolve()
    if path.is_relative_to(_PACKAGE):
        return False
    return not any(path.is_relative_to(folder) for folder in _LIBRARIES) or _is_plugin(module.partition(".")[0])


@cache
def _is_plugin(module: str) -> bool:
    """Whether an installed module belongs to a distribution that requires this package, as a user's own parts do."""
    names = metadata.packages_distributions().get(module, ())
    requirements = [requirement for name in names for requirement in metadata.requires(name) or ()]
    return any(re.match(r"sml[-_.]jax\b", requirement, re.IGNORECASE) for requirement in requirements)
