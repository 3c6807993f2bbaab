"""From gin files to an Experiment: the one place where programs meet gin."""

from __future__ import annotations

import re
from collections.abc import Sequence

import gin

from sml_jax.errors import UserError
from sml_jax.gin_config.parse import configured, parse_gin
from sml_jax.run.experiment import Experiment

_MISSING = re.compile(r"missing (?:\d+|a) required .*?: (.*)")
_BY_GIN = re.compile(r"In call to configurable '(?:\w+\.)*(\w+)'")


def load_experiment(files: Sequence[str], bindings: Sequence[str]) -> tuple[Experiment, str]:
    """Reads gin files and overrides.

    Returns:
      The experiment and the operative configuration as gin text.

    Raises:
      UserError: anything wrong with the files, the overrides or their values.
    """
    parse_gin(files, bindings)
    make = configured(Experiment)
    try:
        experiment = make()
    except TypeError as error:
        raise UserError(_missing(str(error))) from error
    except RecursionError as error:
        raise UserError("gin: something is made of itself: look for @references that go in a circle") from error
    return experiment, gin.operative_config_str()


def _missing(reason: str) -> str:
    """What Python says of arguments that nothing binds, as an error about gin files."""
    first = reason.splitlines()[0]
    found, thing = _MISSING.search(first), _BY_GIN.search(reason)  # gin's words stand on later lines
    if not found or not thing:
        return f"gin: {first}"
    flags = " ".join(f"--gin.{thing[1]}.{name}=..." for name in re.findall(r"'(\w+)'", found[1]))
    return f"gin: {thing[1]} is not given {found[1]}: bind it in a gin file, or add {flags}"
