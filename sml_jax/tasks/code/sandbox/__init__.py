"""Runs a program that a model wrote where it can reach nothing. Stands alone: it imports nothing else of this package.

`run_confined` runs one `Run` in processes of its own and returns its `Ending`; `strongest_walls` finds, by trying, the
best way of keeping a program in that this machine offers.

In this process run `limits` (what is run, what it may use, how it ended), `walls`, `seccomp` and `protection` (what
keeps a program in), `runner` (starts the processes) and `monitor` (hears what comes back). All other modules are the
program of the bare processes that `launcher` forks: `confine` locks a process up, `candidate` runs the program judged,
`judge` runs the tests. The two talk through `peer` (calls over the wire). `wire`, `wire_reader`, `value_types` and
`plain` say how values travel, `lending`, `proxies`, `proxy_objects` and `proxy_factory` how all other objects do.
`judge_end` and `requests` are the whole of what a message of the candidate can make the judge do.
"""

from sml_jax.tasks.code.sandbox.errors import NoProtection
from sml_jax.tasks.code.sandbox.limits import CANDIDATE, DEFAULT_LIMITS, Ending, Limits, Run
from sml_jax.tasks.code.sandbox.protection import describe, strongest_walls
from sml_jax.tasks.code.sandbox.runner import run_confined
from sml_jax.tasks.code.sandbox.walls import Walls

__all__ = [
    "CANDIDATE",
    "DEFAULT_LIMITS",
    "Ending",
    "Limits",
    "NoProtection",
    "Run",
    "Walls",
    "describe",
    "run_confined",
    "strongest_walls",
]
