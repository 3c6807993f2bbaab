"""`python -m sml_jax.train`: the same program as `sml-jax train`."""

from __future__ import annotations

import sys

from sml_jax.cli.main import run_program
from sml_jax.cli.train import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
