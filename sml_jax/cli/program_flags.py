"""The command line that every program shares: `--gin_file=F ... --gin.NAME=VALUE ... --workdir=DIR --flag=value`."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sml_jax.cli.flags import FlagParser
from sml_jax.common.paths import user_path
from sml_jax.errors import UserError
from sml_jax.gin_config.parse import split_gin_flags


@dataclass(frozen=True)
class ProgramFlag:
    """A flag of one program's own: `--name=value`.

    Attributes:
      name: without the dashes.
      help: one line.
      type: makes the value from its text; raises ValueError for text that will not do.
      default: the value where the flag is not given.
      required: whether it must be given.
    """

    name: str
    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    required: bool = False


def parse_program_flags(
    prog: str, description: str, argv: Sequence[str], extra_flags: Sequence[ProgramFlag] = (), *, workdir: bool = True
) -> argparse.Namespace:
    """Parses a program's command line.

    Args:
      prog: how the program is called, for the help.
      description: what it does, for the help.
      argv: the arguments, without the program's name.
      extra_flags: the program's own flags.
      workdir: whether the program has a run's folder.

    Returns:
      A namespace with `gin_files` and `gin_bindings` (tuples of str), `workdir` (Path), and each extra flag by name.

    Raises:
      UserError: an unknown, missing or malformed flag.
      SystemExit: with code 0, after `--help`.
    """
    folder = "--workdir=DIR " if workdir else ""
    parser = FlagParser(prog, description, f"--gin_file=FILE [--gin.NAME=VALUE ...] {folder}[--flag=value ...]")
    # These two are taken out before argparse sees the line; they stand here for the help.
    parser.add_argument("--gin_file", metavar="FILE", help="a gin file; may be given again, later files override")
    parser.add_argument(
        "--gin.NAME", metavar="VALUE", help="overrides a value: --gin.STEPS=5, --gin.online.Online.steps=5"
    )
    if workdir:
        parser.add_argument("--workdir", metavar="DIR", type=Path, help="the run's folder; a run found there goes on")
    for flag in extra_flags:
        parser.add_argument(f"--{flag.name}", metavar="VALUE", type=flag.type, default=flag.default, help=flag.help)

    gin_flags = split_gin_flags(argv)
    folders = ["workdir"] if workdir else []
    known = ["gin_file", *folders, *(flag.name for flag in extra_flags)]
    namespace = parser.parse_flags(gin_flags.rest, known, takes_gin=True)
    given = vars(namespace)
    del given["gin_file"], given["gin.NAME"]
    needed = [*folders, *(flag.name for flag in extra_flags if flag.required)]
    missing = [f"--{name}=..." for name in needed if given[name] is None]
    if not gin_flags.files:
        missing.insert(0, "--gin_file=gin/recipes/...")
    if missing:
        raise UserError(f"{prog} needs {' and '.join(missing)}; see {prog} --help")
    if workdir:
        namespace.workdir = user_path(namespace.workdir)
    namespace.gin_files, namespace.gin_bindings = gin_flags.files, gin_flags.bindings
    return namespace
