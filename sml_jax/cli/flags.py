"""What the programs' command lines share: mistakes in flags as one line each, nothing guessed or dropped."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import NoReturn

from sml_jax.common.suggest import nearest
from sml_jax.errors import UserError


class FlagParser(argparse.ArgumentParser):
    """A parser of `--name=value` flags that are spelt out in full and given once each."""

    def __init__(self, prog: str, description: str, usage: str):
        super().__init__(
            prog=prog,
            description=description,
            usage=f"{prog} {usage}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_flags(self, argv: Sequence[str], known: Iterable[str], *, takes_gin: bool) -> argparse.Namespace:
        """Parses a command line.

        Args:
          argv: the arguments, without the program's name.
          known: names of flags, to suggest for a misspelt one.
          takes_gin: whether the program has gin bindings, to suggest for a value of a recipe.

        Raises:
          UserError: a flag that is unknown, malformed, empty or given twice, or a word that is no flag.
        """
        _check_given(argv)
        namespace, unknown = self.parse_known_args(list(argv))
        if unknown:
            raise UserError(f"unknown argument {unknown[0]}{_cure(unknown[0], sorted(known), takes_gin)}")
        return namespace


def _check_given(argv: Sequence[str]) -> None:
    given: set[str] = set()
    for argument in argv:
        name, equals, value = argument.partition("=")
        if not name.startswith("--"):
            continue
        if equals and not value.strip():
            raise UserError(f"{name} is empty: write {name}=VALUE, or leave it out")
        if name in given:
            raise UserError(f"{name} is given twice: give it once")
        given.add(name)


def _cure(argument: str, known: Sequence[str], takes_gin: bool) -> str:
    name = argument.partition("=")[0].lstrip("-")
    if not argument.startswith("-") and not name.startswith("gin"):
        return "; flags are written --name=value"
    near = nearest(name, known)
    if near and argument.startswith("--"):
        return f"; did you mean {' or '.join(f'--{one}' for one in near)}?"
    flags = ", ".join(f"--{one}=..." for one in known)
    return f"; there is {flags}" + (", and a recipe's value is changed by --gin.NAME=VALUE" if takes_gin else "")
