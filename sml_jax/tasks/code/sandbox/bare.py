"""How the judge's and the candidate's processes begin, and how they report. Part of the bare process."""

from __future__ import annotations

import builtins
import os
import sys
from typing import Any

# Bound here: a candidate may change what the names mean.
_write = os.write


def prepare_interpreter(paths: list[str]) -> None:
    """Does what Python's `site` module would have done, without its cost.

    Args:
      paths: folders of installed packages.
    """
    import _sitebuiltins

    sys.argv = ["solution.py"]
    sys.path += paths
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))


def reporter(pipe: int) -> Any:
    """A function that writes its arguments, which are texts, to a pipe: a line of words in hexadecimal digits."""

    def report(*words: str) -> None:
        line = b" ".join([word.encode("utf-8", "backslashreplace").hex().encode() for word in words]) + b"\n"
        try:
            while line:
                line = line[_write(pipe, line) :]
        except OSError:
            pass

    return report


def own_classes(namespace: dict[str, Any]) -> dict[str, type]:
    """The classes that a module's own text made, by name, whose objects can be rebuilt from their attributes."""
    return {
        value.__name__: value
        for value in list(namespace.values())
        if type(value) is type
        and value.__module__ == namespace.get("__name__")
        and not issubclass(value, BaseException)
        and value.__mro__[-1] is object
        and all(base.__module__ == value.__module__ for base in value.__mro__[:-1])
    }
