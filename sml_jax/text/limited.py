"""Running a function in a child whose memory and computing time the system limits.

A model's files hold programs of somebody else's: regular expressions that may take for ever, chat templates with loops.
Nothing in the process that calls them can end such a call, and a crash in one ends the process.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from sml_jax.common.errors import UserError

_MEMORY_BYTES, _MAX_WALL_SECONDS = 1 << 30, 60


def run_limited(entry: str, arguments: Mapping[str, Any], cpu_seconds: int, refused: Callable[[str], UserError]) -> Any:
    """Calls a function in a child with limited memory and computing time; half a second, and the time of the call.

    Args:
      entry: the function, as "module:name". It takes keyword arguments and returns what JSON can write.
      arguments: what JSON can write too.
      cpu_seconds: the most computing time, which does not depend on what else the machine does.
      refused: makes the error where the child takes too long or too much memory, or crashes, of a clause that says so.

    Returns:
      What the function returned.

    Raises:
      UserError: the function raised it, or the child came to no good end.
    """
    environment = {
        **os.environ,
        # The child imports what this process would, and stays in one thread: each further one takes address space.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from sml_jax.text.limited import main; main()"],
            input=json.dumps({"entry": entry, "arguments": arguments, "cpu_seconds": cpu_seconds}),
            capture_output=True,
            timeout=_MAX_WALL_SECONDS,
            env=environment,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise refused(f"it has not come to an end after {_MAX_WALL_SECONDS} seconds") from None
    # The child ends in its own words, or the system has ended it.
    if done.returncode == 0 and done.stdout.startswith("{"):
        answer = json.loads(done.stdout)
        if answer["error"]:
            raise UserError(answer["error"])
        if answer["out_of_memory"]:
            raise refused(f"it asks for more than {_MEMORY_BYTES >> 20} MiB of memory")
        return answer["result"]
    if done.returncode in (-24, -9):  # SIGXCPU, and SIGKILL a second later
        raise refused(f"it has not come to an end after {cpu_seconds} seconds of computing")
    if "memory" in done.stderr.lower() or "bad_alloc" in done.stderr:
        raise refused(f"it asks for more than {_MEMORY_BYTES >> 20} MiB of memory")
    last_line = next(reversed(done.stderr.splitlines()), "")[:200]
    raise refused(f"its library crashes (exit code {done.returncode}: {last_line})")


def main() -> None:
    """The child: reads what to call from its standard input, and writes what came of it to its standard output."""
    task = json.loads(sys.stdin.read())
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (task["cpu_seconds"], task["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer: dict[str, Any] = {"result": None, "error": "", "out_of_memory": False}
    module, name = task["entry"].split(":")
    try:
        answer["result"] = getattr(importlib.import_module(module), name)(**task["arguments"])
    except UserError as refusal:
        answer["error"] = str(refusal)
    except MemoryError:
        answer["out_of_memory"] = True
    print(json.dumps(answer))
