"""How the judge's and the candidate's processes begin, and how they report. Part of the bare process."""

from __future__ import annotations

import builtins
import os
import sys
from typing import Any

# Bound here: a candidate may change what the names mean.
_write = os.write


def prepare_interpreter(paths: list[str]) -> None:
    """Does in this process what Python's `site` module would have done, which is not loaded as it is slow.

    Args:
      paths: folders of installed packages, which are added to `sys.path`.
    """
    import _sitebuiltins

    sys.argv = ["solution.py"]
    sys.path += paths
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))


def reporter(pipe: int) -> Any:
    """Returns a function that reports words to the monitor.

    It takes any number of texts and writes them to the pipe as one line, each as the hexadecimal digits of its bytes.
    It never raises an OSError.

    Args:
      pipe: number of the open file to write to.
    """

    def report(*words: str) -> None:
        line = b" ".join([word.encode("utf-8", "backslashreplace").hex().encode() for word in words]) + b"\n"
        try:
            while line:
                line = line[_write(pipe, line) :]
        except OSError:
            pass

    return report


def shared_classes(namespace: dict[str, Any]) -> dict[str, type]:
    """The classes of errors and the enumerations that a module defines, by name: two processes that ran it have both.

    Args:
      namespace: the module's `__dict__`.
    """
    return {
        name: value
        for name, value in list(namespace.items())
        if isinstance(value, type)
        and value.__module__ == namespace.get("__name__")
        and value.__name__ == name
        and (issubclass(value, BaseException) or type(value).__name__ in ("EnumMeta", "EnumType"))
    }


def own_classes(namespace: dict[str, Any]) -> dict[str, type]:
    """The plain classes that a module defines, whose objects can be rebuilt in another process from their attributes.

    They derive from `object` and from each other alone, without a metaclass; classes of errors, enumerations and
    subclasses of builtin types are not among them.

    Args:
      namespace: the module's `__dict__`.

    Returns:
      The classes by their `__name__`.
    """
    return {
        value.__name__: value
        for value in list(namespace.values())
        if type(value) is type
        and value.__module__ == namespace.get("__name__")
        and not issubclass(value, BaseException)
        and value.__mro__[-1] is object
        and all(base.__module__ == value.__module__ for base in value.__mro__[:-1])
    }
