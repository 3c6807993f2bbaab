"""Which walls hold on this machine: found once, by a program that tries to get out."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import threading

from sml_jax.tasks.code.sandbox.errors import NoProtection
from sml_jax.tasks.code.sandbox.limits import CANDIDATE, Ending, Limits, Run
from sml_jax.tasks.code.sandbox.runner import run_confined
from sml_jax.tasks.code.sandbox.walls import Walls, possible_walls

# The program that tries; each attempt stands for one way out. `parent` is this process.
_PROBE = """
import os, socket, decimal
def attempt(step):
    try:
        return bool(step())
    except OSError:
        return False
def probe(folder, parent):
    return [
        attempt(lambda: open(folder + '/note').read()), attempt(lambda: open(folder + '/new', 'w')),
        attempt(lambda: open('/etc/passwd').read()), attempt(lambda: open('/proc/self/environ').read(1)),
        attempt(lambda: os.listdir('/')), attempt(lambda: socket.socket()), attempt(lambda: os.kill(parent, 0) is None),
        attempt(lambda: os.fork() or os._exit(0)), attempt(lambda: os.execv('/bin/true', ['true'])),
        attempt(lambda: os.write(os.open('own', os.O_CREAT | os.O_RDWR), b'x')),
    ]
"""
_WANTED = [False] * 9 + [True]  # out of reach, all but its own folder
_TRIAL_LOCK = threading.Lock()


@functools.cache
def _strongest() -> tuple[Walls, str]:
    """(the strongest sandbox that works here, what was wrong with the stronger ones)."""
    faults: list[str] = []
    # The weakest offer, resource limits alone, always works.
    for walls in possible_walls():
        fault = "" if walls.weak else _try(walls)
        if not fault:
            return walls, "; ".join(faults)
        faults.append(f"{walls.name}: {fault}")
    raise AssertionError("unreachable")


def _try(walls: Walls) -> str:
    """What is wrong with a sandbox, found by a program that tries to get out of it; "" if it works."""
    answers: list[str] = []
    with tempfile.TemporaryDirectory(prefix="sml_jax_probe_") as folder:
        with open(os.path.join(folder, "note"), "w") as file:
            file.write("x")

        def keep(returned: tuple[str, ...]) -> bool:
            answers.append(returned[1])
            return True

        call = json.dumps([folder, os.getpid()])
        parts = [("the setup", ""), (CANDIDATE, _PROBE)]
        try:
            ending: Ending | None = run_confined(
                Run("calls", parts, calls=[call], entry="probe", on_value=keep), Limits(wall_s=30.0), walls
            )
        except RuntimeError as error:
            return str(error)
    if not answers or not answers[0]:
        return f"the trial ended with {ending.words if ending else ()}"
    successes = json.loads(answers[0])
    return "" if successes == _WANTED else f"the trial got through: {successes}"


def strongest_walls(weak: bool = False) -> Walls:
    """The strongest sandbox that works on this machine. The first call tries them out, later ones remember the result.

    Args:
      weak: whether resource limits alone are returned if nothing stronger works.

    Raises:
      NoProtection: nothing stronger than resource limits works, and `weak` is False.
    """
    with _TRIAL_LOCK:
        walls, faults = _strongest()
    if walls.weak and not weak:
        why = f" ({faults})" if faults else ""
        raise NoProtection(
            f"no protection against hostile code works here{why}: install bubblewrap, or use Linux 6.2 or newer with "
            "landlock, or run inside a container or virtual machine of its own and ask for the weak one with "
            "Limits(weak=True)"
        )
    return walls


def describe(walls: Walls) -> str:
    """One line of text that names a sandbox and what it keeps out, to be logged once."""
    return f"code sandbox: {walls.name} ({walls.covers})"
