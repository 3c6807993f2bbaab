"""The command lines of all programs: `--gin_file=F ... --gin.NAME=VALUE ... --workdir=DIR --flag=value`.

Every mistake in a flag is one line that names the cure; no flag is guessed or dropped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path
from sml_jax.common.suggest import nearest
from sml_jax.gin_config.overrides import split_gin_flags

if TYPE_CHECKING:
    from sml_jax.distributed.membership import ProcessGroup


@dataclass(frozen=True)
class ProgramFlag:
    """A flag that only some programs have: `--name=value`.

    Attributes:
      name: without the dashes.
      help: one line.
      type: converts the flag's text to its value; raises ValueError for a text that is not allowed.
      default: the value where the flag is not given.
      required: whether it must be given.
    """

    name: str
    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    required: bool = False


def choice(*choices: str) -> Callable[[str], str]:
    """Makes the `type` of a flag that takes one of a few words.

    Args:
      choices: the words that are allowed.

    Returns:
      A function that returns its text if it is one of `choices`, and raises argparse.ArgumentTypeError otherwise.
    """

    def check(text: str) -> str:
        if text not in choices:
            # Of an ArgumentTypeError argparse shows the text; of a ValueError it shows this function's name.
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it takes {' or '.join(choices)}")
        return text

    return check


# How a program is started in several processes, in JAX's own words.
PROCESS_FLAGS = (
    ProgramFlag("coordinator_address", "several processes: HOST:PORT of process 0, with a port that is free there"),
    ProgramFlag("num_processes", "several processes: how many there are", type=int),
    ProgramFlag("process_id", "several processes: the number of this one, from 0", type=int),
    ProgramFlag(
        "distributed", "auto: several processes, found by JAX on a TPU pod or under Slurm", type=choice("auto")
    ),
)


def process_group_of(flags: argparse.Namespace) -> ProcessGroup:
    """The processes that run together, from the flags of `PROCESS_FLAGS`.

    Args:
      flags: a program's parsed flags, with all of `PROCESS_FLAGS` among them.

    Raises:
      UserError: the flags contradict each other, or one that the others need is missing.
    """
    # Imported here, so that --help need not load JAX.
    from sml_jax.distributed.membership import ProcessGroup

    return ProcessGroup(
        flags.coordinator_address, flags.num_processes, flags.process_id, detect=flags.distributed == "auto"
    )


def parse_program_flags(
    prog: str,
    description: str,
    argv: Sequence[str],
    extra_flags: Sequence[ProgramFlag] = (),
    *,
    workdir: bool = True,
    gin_required: bool = True,
) -> argparse.Namespace:
    """Parses the command line of a program that reads gin files.

    Args:
      prog: how the program is called, for the help.
      description: what it does, for the help.
      argv: the arguments, without the program's name.
      extra_flags: the flags that this program has besides those for gin files and `--workdir`.
      workdir: whether the program takes `--workdir`, the run's folder, which is then required.
      gin_required: whether a gin file must be given.

    Returns:
      A namespace with `gin_files` and `gin_bindings` (tuples of str), `workdir` (Path; missing if `workdir` is False),
      and the value of each extra flag by name.

    Raises:
      UserError: a flag is unknown, missing or malformed.
      SystemExit: with code 0, after `--help`.
    """
    workdir_usage = "--workdir=DIR " if workdir else ""
    gin_usage = "--gin_file=FILE [--gin.NAME=VALUE ...]"
    required_usage = f"{gin_usage} " if gin_required else "".join(f"--{f.name}=... " for f in extra_flags if f.required)
    parser = FlagParser(prog, description, f"{required_usage}{workdir_usage}[--flag=value ...]")
    # The gin flags are taken out before argparse sees the line. They are declared for the help alone.
    parser.add_argument("--gin_file", metavar="FILE", help="a gin file; may be given again, later files override")
    parser.add_argument(
        "--gin.NAME", metavar="VALUE", help="overrides a value: --gin.STEPS=5, --gin.online.Online.steps=5"
    )
    if workdir:
        parser.add_argument("--workdir", metavar="DIR", type=Path, help="the run's folder; a run found there goes on")
    for flag in extra_flags:
        parser.add_argument(f"--{flag.name}", metavar="VALUE", type=flag.type, default=flag.default, help=flag.help)

    # The flags that argparse is to know, for suggestions where one is misspelt.
    gin_flags = split_gin_flags(argv)
    workdir_names = ["workdir"] if workdir else []
    known_names = ["gin_file", *workdir_names, *(flag.name for flag in extra_flags)]
    namespace = parser.parse_flags(gin_flags.rest, known_names, takes_gin=True)
    values = vars(namespace)
    del values["gin_file"], values["gin.NAME"]

    # All missing flags are named in one error, so that nobody has to mend a command line twice.
    required_names = [*workdir_names, *(flag.name for flag in extra_flags if flag.required)]
    missing_flags = [f"--{name}=..." for name in required_names if values[name] is None]
    if gin_required and not gin_flags.files:
        missing_flags.insert(0, "--gin_file=gin/recipes/...")
    if missing_flags:
        raise UserError(f"{prog} needs {' and '.join(missing_flags)}; see {prog} --help")
    if workdir:
        namespace.workdir = user_path(namespace.workdir)
    namespace.gin_files, namespace.gin_bindings = gin_flags.files, gin_flags.bindings
    return namespace


class FlagParser(argparse.ArgumentParser):
    """A parser of `--name=value` flags. Each flag is written out in full, and most may be given only once.

    Args:
      prog: how the program is called, such as "sml-jax train".
      description: what the program does, for the help.
      usage: the flags in short, for the help, without `prog`.
    """

    def __init__(self, prog: str, description: str, usage: str):
        super().__init__(
            prog=prog,
            description=description,
            usage=f"{prog} {usage}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raises a UserError with `message` and a pointer to `--help`; argparse calls it for a malformed flag."""
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_flags(
        self, argv: Sequence[str], known: Iterable[str], *, takes_gin: bool, repeatable: Sequence[str] = ()
    ) -> argparse.Namespace:
        """Parses a command line.

        Args:
          argv: the arguments, without the program's name.
          known: names of the program's flags, without dashes. An error for a misspelt flag suggests the nearest of
            them.
          takes_gin: whether the program reads gin files; an error may then suggest `--gin.NAME=VALUE`.
          repeatable: names of the flags that may be given more than once.

        Returns:
          A namespace with the value of each flag by name; the flag's default where it was not given.

        Raises:
          UserError: a flag is unknown, malformed, empty or given twice, or an argument is not a flag.
        """
        _check_given_once(argv, repeatable)
        # argparse's own error for unknown flags suggests nothing.
        namespace, unknown = self.parse_known_args(list(argv))
        if unknown:
            raise UserError(f"unknown argument {unknown[0]}{_cure(unknown[0], sorted(known), takes_gin)}")
        return namespace


def _check_given_once(argv: Sequence[str], repeatable: Sequence[str]) -> None:
    """Raises UserError for a flag that is empty or wrongly given twice; argparse would let the last one win."""
    given_names: set[str] = set()
    for argument in argv:
        name, equals, value = argument.partition("=")
        if not name.startswith("--"):
            continue
        if equals and not value.strip():
            raise UserError(f"{name} is empty: write {name}=VALUE, or leave it out")
        if name in given_names and name.removeprefix("--") not in repeatable:
            raise UserError(f"{name} is given twice: give it once")
        given_names.add(name)


def _cure(argument: str, known: Sequence[str], takes_gin: bool) -> str:
    """What an unknown argument should have been, as the tail of an error."""
    name = argument.partition("=")[0].lstrip("-")
    if not argument.startswith("-") and not name.startswith("gin"):
        return "; flags are written --name=value"
    # A single dash is no misspelling of one flag but of the way flags are written, so all flags are listed then.
    near_names = nearest(name, known)
    if near_names and argument.startswith("--"):
        return f"; did you mean {' or '.join(f'--{flag}' for flag in near_names)}?"
    flag_list = ", ".join(f"--{flag}=..." for flag in known)
    return f"; there is {flag_list}" + (", and a recipe's value is changed by --gin.NAME=VALUE" if takes_gin else "")
