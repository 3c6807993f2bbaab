"""`sml-jax report`: one HTML file about one or more runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sml_jax.cli.flags import FlagParser
from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path

DESCRIPTION = """Writes a report of runs: success by turn, training curves, behaviour, and a reader of their dialogues.

It is one HTML file that opens from disk in any browser of 2023 or later, and loads nothing. Runs that go on, or that
were not evaluated, can be reported too."""

_REPORT = "report.html"


def main(argv: Sequence[str]) -> int:
    """`sml-jax report`: writes the report and prints where it lies, and what is not in it.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The exit code 0.

    Raises:
      UserError: a flag is wrong, a folder is no run's, or matplotlib is not installed.
      OSError: the file cannot be written.
    """
    parser = FlagParser("sml-jax report", DESCRIPTION, "--workdir=DIR [--workdir=DIR ...] [--flag=value ...]")
    parser.add_argument("--workdir", metavar="DIR", action="append", help="a run's folder; give it again for more runs")
    parser.add_argument("--to", metavar="FILE", help=f"the file to write (default: {_REPORT} in the first folder)")
    parser.add_argument(
        "--dialogues", metavar="N", type=_count, default=20_000, help="the most dialogues of each run (default: 20000)"
    )
    flags = parser.parse_flags(argv, ("workdir", "to", "dialogues"), takes_gin=False, repeatable=("workdir",))
    if not flags.workdir:
        raise UserError("sml-jax report needs --workdir=DIR; see sml-jax report --help")
    folders = [user_path(folder) for folder in flags.workdir]
    target = folders[0] / _REPORT if flags.to is None else user_path(flags.to)
    if flags.to is not None and (target.is_dir() or not target.parent.is_dir()):
        raise UserError(f"--to: cannot write a file {target}: give a file's name in a folder that exists")
    # Imported here, so that --help and mistakes in flags need not load what draws the plots.
    from sml_jax.report.page import write_report
    from sml_jax.run.io.display import late_progress, printable

    # Labelling the turns of a large run takes a minute.
    with late_progress("reading dialogues") as progress:
        notes = write_report(folders, target, flags.dialogues, progress)
    for note in notes:
        print(f"note: {printable(note)}")
    print(f"report: {target} ({_size(target)})")
    return 0


def _size(path: Path) -> str:
    """A file's size in words."""
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _count(text: str) -> int:
    """A flag's whole number, at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)
