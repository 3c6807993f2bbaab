"""The console script `sml-jax`: picks a program, runs it, and turns its errors into one line and an exit code."""

import errno
import importlib
import sys
from collections.abc import Callable, Sequence

from sml_jax.common.errors import EXIT_STOPPED, EXIT_USER_ERROR, Stopped, UserError
from sml_jax.common.suggest import did_you_mean

# Imported only when run, so that `sml-jax --help` need not load JAX.
PROGRAMS = {
    "train": ("sml_jax.cli.train", "run the training stages of a recipe, evaluate, and print the table"),
    "evaluate": ("sml_jax.cli.evaluate", "evaluate a checkpoint: success by turn, arm beside arm"),
    "report": ("sml_jax.cli.report", "write one HTML file of runs: success, training, behaviour, dialogues to read"),
    "claims": ("sml_jax.cli.claims", "train and measure what the claims of the papers need, and say which hold"),
    "chat": ("sml_jax.cli.chat", "talk with a model in the terminal, as its teacher or as its student"),
    "plan": ("sml_jax.cli.plan", "compile a recipe for a TPU slice without one: memory, work, speed, what fits"),
    "convert": ("sml_jax.cli.convert", "convert Hugging Face weights to a model folder, and back"),
}

# Errors of the file system that a user can mend, and the cure.
_FILE_CURES = {
    errno.ENOSPC: "make room, and start again",
    errno.EDQUOT: "make room within your quota, and start again",
    errno.EROFS: "give a place that you may write to",
    errno.EACCES: "give a place that you have permission for",
    errno.EPERM: "give a place that you have permission for",
    errno.ENAMETOOLONG: "give a shorter name",
}
_MEMORY_CURE = (
    "fewer rows (Experiment.max_concurrent, micro_batch_size), shorter contexts, a smaller model, or more devices"
)


def usage() -> str:
    """The help text of `sml-jax --help`, which lists the programs."""
    program_lines = "\n".join(f"  {name:<10}{summary}" for name, (_, summary) in PROGRAMS.items())
    return f"""usage: sml-jax PROGRAM [--flag=value ...]

Social meta-learning: language models that learn to learn from feedback in conversation.

programs:
{program_lines}

Example:
  sml-jax train --gin_file=gin/recipes/pocket_math_online.gin --workdir=/tmp/pocket_math

`sml-jax PROGRAM --help` tells a program's flags."""


def run_program(function: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Runs a program, and prints errors that a user can mend as one line on stderr instead of a traceback.

    Args:
      function: takes the arguments and returns an exit code.
      argv: the arguments, without the program's name.

    Returns:
      The exit code: the program's own; 2 after a UserError, a file error that a user can mend, or too little device
      memory; 75 after Stopped; 130 after Ctrl-C.

    Any other exception passes through with its traceback, since it is a fault of the program.
    """
    try:
        return function(argv)
    except UserError as error:
        # Gin appends "In call to configurable ..." lines to whatever is raised below it.
        lines = str(error).splitlines() or [""]
        print(f"sml-jax: error: {lines[0]}", file=sys.stderr)
        return EXIT_USER_ERROR
    except OSError as error:
        # Other errors of the system, such as a bad file descriptor, are faults of the program.
        if error.errno not in _FILE_CURES:
            raise
        file_name = f" {error.filename}" if error.filename else ""
        print(
            f"sml-jax: error: cannot read or write{file_name}: {error.strerror}; {_FILE_CURES[error.errno]}",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR
    except RuntimeError as error:
        # XLA raises a RuntimeError when a device has too little memory.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        first_line = str(error).splitlines()[0]
        print(f"sml-jax: error: out of memory ({first_line}): {_MEMORY_CURE}", file=sys.stderr)
        return EXIT_USER_ERROR
    except Stopped as stop:
        print(f"sml-jax: {stop}", file=sys.stderr)
        return EXIT_STOPPED
    except KeyboardInterrupt:
        print("sml-jax: interrupted", file=sys.stderr)
        return 130
    except SystemExit as end:  # from `--help`
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def main(argv: Sequence[str] | None = None) -> int:
    """The console script `sml-jax`: runs the program that the first argument names.

    Args:
      argv: the program and its arguments, such as ["train", "--workdir=DIR"]; None for those of the command line.

    Returns:
      The exit code, see `run_program`.
    """
    return run_program(_dispatch, sys.argv[1:] if argv is None else argv)


def _dispatch(argv: Sequence[str]) -> int:
    """Runs the program that the first argument names."""
    name, *rest = argv or ("",)
    if name in ("--help", "-h", "help"):
        print(usage())
        return 0
    if name not in PROGRAMS:
        if not name or name.startswith("-"):
            raise UserError(f"name a program first: sml-jax {'|'.join(PROGRAMS)}; see sml-jax --help")
        raise UserError(f"no program {name!r}{did_you_mean(name, PROGRAMS)}")
    return int(importlib.import_module(PROGRAMS[name][0]).main(rest))
