"""Several processes that run one program in step: who they are, and what they tell each other.

Every process runs the same host program over all rows, and so makes the same sequence of device calls. What may differ
between hosts (a verdict, a signal, what is on disk) goes through `all_gather`, `broadcast` or `any_process`, so that
all go the same way. With one process these cost nothing.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sml_jax.distributed import coordination
from sml_jax.distributed.coordination import process_count, process_id
from sml_jax.errors import UserError

__all__ = [
    "all_gather",
    "any_process",
    "assert_equal",
    "broadcast",
    "is_primary",
    "map_across_processes",
    "process_count",
    "process_id",
    "run_on_primary",
]

T = TypeVar("T")
R = TypeVar("R")
_FOLDER = "sml_jax/exchange"
_rounds = itertools.count()


def is_primary() -> bool:
    """Whether this is the process that writes files and prints: process 0, or the only one."""
    return process_id() == 0


def all_gather(value: Any) -> list[Any]:
    """Every process's value, in the order of the processes, in every process.

    All processes must call it, in the same order as the other functions of this module.

    Args:
      value: of JSON (tuples come back as lists). Small: kilobytes.
    """
    count, me = process_count(), process_id()
    if count == 1:
        return [value]
    # All values go to process 0 and come back as one: 2 messages a process, where each to each would be as many as
    # there are processes.
    number, own = next(_rounds), json.dumps(value)
    folder = f"{_FOLDER}/{number}"
    if me:
        coordination.put(f"{folder}/{me}", zlib.compress(own.encode()))
        return list(json.loads(zlib.decompress(coordination.wait_for(f"{folder}/all"))))
    texts = [own]
    for other in range(1, count):
        texts.append(zlib.decompress(coordination.wait_for(f"{folder}/{other}")).decode())
        coordination.remove(f"{folder}/{other}")
    whole = f"[{','.join(texts)}]"
    coordination.put(f"{folder}/all", zlib.compress(whole.encode()))
    coordination.remove(f"{_FOLDER}/{number - 1}/all")  # who has sent a value of this round has read the last one's
    return list(json.loads(whole))


def broadcast(value: Any) -> Any:
    """Process 0's value, in every process; see `all_gather`."""
    return all_gather(value if is_primary() else None)[0] if process_count() > 1 else value


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; see `all_gather`."""
    return any(all_gather(bool(flag)))


def assert_equal(what: str, value: str) -> None:
    """Makes sure that all processes were given the same.

    Raises:
      UserError: in every process, if any has another value than process 0.
    """
    values = all_gather(value)
    other = [number for number, theirs in enumerate(values) if theirs != values[0]]
    if other:
        raise UserError(
            f"{what} of process {other[0]} is not that of process 0: give all {len(values)} processes the same recipe, "
            "flags, data and version"
        )


def run_on_primary(work: Callable[[], Any]) -> Any:
    """What process 0 finds, in every process: `work` runs there alone. For what is on disk, or what changes it.

    Args:
      work: returns JSON.

    Raises:
      UserError: in every process, where `work` raised one.
    """
    if process_count() == 1:
        return work()
    found: list[Any] = [None, None]
    if is_primary():
        try:
            found = [work(), None]
        except UserError as error:
            found = [None, str(error)]
    result, trouble = broadcast(found)
    if trouble is not None:
        raise UserError(trouble)
    return result


def map_across_processes(
    work: Callable[[Sequence[T]], Sequence[R]],
    items: Sequence[T],
    to_json: Callable[[R], Any],
    from_json: Callable[[Any], R],
) -> list[R]:
    """`work(items)`, each item done in one process only: in process p those numbered p, p + P, p + 2 P, ...

    Args:
      work: a result for each item it is given, in their order. It is called with no items too.
      items: the same in every process.
      to_json, from_json: there and back, for a result's way between processes.

    Returns:
      A result for each item, in order, the same in every process.

    Raises:
      RuntimeError, or UserError if it was one: in every process, if `work` raised in one; it names that process.
    """
    count, me = process_count(), process_id()
    if count == 1:
        return list(work(items))
    try:
        done: dict[str, Any] = {"results": [to_json(result) for result in work(items[me::count])]}
    except Exception as error:
        # All must learn of it: one that went on alone would wait for the others for ever.
        done = {"error": str(error), "kind": None if isinstance(error, UserError) else type(error).__name__}
    parts = all_gather(done)
    for number, part in enumerate(parts):
        if "error" in part and part["kind"] is None:
            raise UserError(f"process {number} of {count}: {part['error']}")
        if "error" in part:
            raise RuntimeError(f"process {number} of {count} failed: {part['kind']}: {part['error']}")
    return [from_json(parts[i % count]["results"][i // count]) for i in range(len(items))]
