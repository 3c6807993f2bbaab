"""From gin files to an Experiment: the one place where programs meet gin."""

from __future__ import annotations

import re
from collections.abc import Sequence

import gin

from sml_jax.errors import UserError
from sml_jax.experiment import Experiment
from sml_jax.gin_flags import configured, parse_gin

_MISSING = re.compile(r"(\w+?)(?:\.__init__)?\(\) missing \d+ required .*?: (.*)")


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
        raise UserError(_missing(str(error).splitlines()[0])) from error
    except RecursionError as error:
        raise UserError("gin: something is made of itself: look for @references that go in a circle") from error
    return experiment, gin.operative_config_str()


def _missing(reason: str) -> str:
    """What Python says of arguments that nothing binds, as an error about gin files."""
    found = _MISSING.match(reason)
    if not found:
        return f"gin: {reason}"
    names = re.findall(r"'(\w+)'", found[2])
    flags = " ".join(f"--gin.{found[1]}.{name}=..." for name in names)
    return f"gin: {found[1]} is not given {found[2]}: bind it in a gin file, or add {flags}"
