"""`python -m sml_jax` is the console script."""

import sys

from sml_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
