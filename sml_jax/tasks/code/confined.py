"""The sandbox as the verifiers use it: candidates run behind the strongest walls, or a UserError says why."""

from __future__ import annotations

from sml_jax.common.errors import UserError
from sml_jax.tasks.code import sandbox
from sml_jax.tasks.code.sandbox import Ending, Limits, NoProtection, Run, Walls


def run_candidate(run: Run, limits: Limits) -> Ending:
    """Runs a program that a model wrote in the strongest sandbox that this machine offers.

    Args:
      run: the program, and what is done with it.
      limits: the resources that it may use. `limits.weak` allows a sandbox of resource limits alone if no stronger one
        works.

    Returns:
      How the run ended.

    Raises:
      UserError: no sandbox that `limits` allows works on this machine.
      RuntimeError: no process could be started.
    """
    return sandbox.run_confined(run, limits, _walls(limits.weak))


def protection(weak: bool = False) -> str:
    """One line of text that names the sandbox in which programs run on this machine, to be logged once.

    Args:
      weak: whether a sandbox of resource limits alone is allowed if no stronger one works.

    Raises:
      UserError: no sandbox that `weak` allows works on this machine.
    """
    return sandbox.describe(_walls(weak))


def _walls(weak: bool) -> Walls:
    try:
        return sandbox.strongest_walls(weak)
    except NoProtection as error:
        raise UserError(f"{error}, in gin WEAK_SANDBOX = True") from None
