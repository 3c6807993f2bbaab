"""The sandbox as the verifiers use it: candidates run behind the strongest walls, or a UserError says why."""

from __future__ import annotations

from sml_jax.common.errors import UserError
from sml_jax.tasks.code import sandbox
from sml_jax.tasks.code.sandbox import Ending, Limits, NoProtection, Run, Walls


def run_candidate(run: Run, limits: Limits) -> Ending:
    """Runs a candidate program behind the strongest walls that this machine has.

    Args:
      run: the program and what is done with it.
      limits: what the run may use; `limits.weak` allows resource limits alone where nothing stronger works.

    Returns:
      How the run ended.

    Raises:
      UserError: no protection works here that `limits` allows.
      RuntimeError: no process could be started.
    """
    return sandbox.run_confined(run, limits, _walls(limits.weak))


def protection(weak: bool = False) -> str:
    """One line that names the sandbox of this machine, for the start of a run.

    Args:
      weak: whether resource limits alone are allowed where nothing stronger works.

    Raises:
      UserError: no protection works here that `weak` allows.
    """
    return sandbox.describe(_walls(weak))


def _walls(weak: bool) -> Walls:
    try:
        return sandbox.strongest_walls(weak)
    except NoProtection as error:
        raise UserError(f"{error}, in gin WEAK_SANDBOX = True") from None
