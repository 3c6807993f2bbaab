"""Several processes that run one program in step: who they are, and the values that they pass to each other.

Every process runs the same host program over all rows, and so makes the same sequence of device calls. What may differ
between hosts (a verdict, a signal, what is on disk) goes through `all_gather`, `broadcast` or `any_process`, so that
all processes take the same branches. With one process these functions cost nothing.
"""

from __future__ import annotations

import itertools
import json
import traceback
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sml_jax.common.errors import UserError
from sml_jax.distributed import store
from sml_jax.distributed.store import process_count, process_id

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
_TRACEBACK_CHARACTERS = 4000  # of an error in another process, from its end


def is_primary() -> bool:
    """Whether this is process 0 (or the only process), which alone writes files and prints."""
    return process_id() == 0


def all_gather(value: Any) -> list[Any]:
    """Returns every process's value, in every process, ordered by process id.

    All processes must call it, and all functions of this module that exchange values, in the same order.

    Args:
      value: what JSON can hold (tuples come back as lists), a few kilobytes at most.
    """
    count, me = process_count(), process_id()
    if count == 1:
        return [value]
    # Process 0 collects all values and publishes them as one. This takes 2 messages for each process, where sending
    # from each process to each would take as many as there are processes.
    round_number, my_text = next(_rounds), json.dumps(value)
    folder = f"{_FOLDER}/{round_number}"
    if me:
        store.put(f"{folder}/{me}", zlib.compress(my_text.encode()))
        return list(json.loads(zlib.decompress(store.wait_for(f"{folder}/all"))))
    texts = [my_text]
    for peer in range(1, count):
        texts.append(zlib.decompress(store.wait_for(f"{folder}/{peer}")).decode())
        store.delete(f"{folder}/{peer}")
    all_texts = f"[{','.join(texts)}]"
    store.put(f"{folder}/all", zlib.compress(all_texts.encode()))
    # Every process that has sent a value of this round has read the result of the last one.
    store.delete(f"{_FOLDER}/{round_number - 1}/all")
    return list(json.loads(all_texts))


def broadcast(value: Any) -> Any:
    """Returns process 0's value in every process; the others' is ignored. For the rules see `all_gather`."""
    return all_gather(value if is_primary() else None)[0] if process_count() > 1 else value


def any_process(flag: bool) -> bool:
    """Returns, in every process, whether the flag is true in any of them. For the rules see `all_gather`."""
    return any(all_gather(bool(flag)))


def assert_equal(what: str, value: str) -> None:
    """Checks that all processes have the same value. All must call it, see `all_gather`.

    Args:
      what: the value's name, for the error.
      value: this process's.

    Raises:
      UserError: in every process, if one has another value than process 0.
    """
    values = all_gather(value)
    differing_processes = [number for number, process_value in enumerate(values) if process_value != values[0]]
    if differing_processes:
        raise UserError(
            f"{what} of process {differing_processes[0]} is not that of process 0: give all {len(values)} processes "
            "the same recipe, flags, data and version"
        )


def run_on_primary(work: Callable[[], Any]) -> Any:
    """Runs `work` in process 0 alone and returns its result in every process, for work that uses the disk.

    All processes must call it, see `all_gather`.

    Args:
      work: a function without arguments whose result JSON can hold.

    Raises:
      UserError: in every process, if `work` raised one.
    """
    if process_count() == 1:
        return work()
    result_and_error: list[Any] = [None, None]
    if is_primary():
        try:
            result_and_error = [work(), None]
        except UserError as error:
            result_and_error = [None, str(error)]
    result, message = broadcast(result_and_error)
    if message is not None:
        raise UserError(message)
    return result


def map_across_processes(
    work: Callable[[Sequence[T]], Sequence[R]],
    items: Sequence[T],
    to_json: Callable[[R], Any],
    from_json: Callable[[Any], R],
) -> list[R]:
    """Computes `work(items)` with P processes, of which process p does the items numbered p, p + P, p + 2 P, ...

    All processes must call it, see `all_gather`.

    Args:
      work: returns a result for each item that it is given, in their order. It may be called with no items.
      items: the same in every process.
      to_json, from_json: turn a result into what JSON can hold, and back.

    Returns:
      A result for each item, in order, the same in every process.

    Raises:
      RuntimeError, or UserError if it was one: in every process, if `work` raised in one; it names that process, and
        a RuntimeError has the traceback there as a note.
    """
    count, me = process_count(), process_id()
    if count == 1:
        return list(work(items))
    # Each process does its own items, and all exchange results or the error that stopped them.
    try:
        my_results: dict[str, Any] = {"results": [to_json(result) for result in work(items[me::count])]}
    except Exception as error:
        # All processes must learn of it: one that stopped alone would leave the others waiting for ever.
        my_results = {"error": str(error), "kind": None if isinstance(error, UserError) else type(error).__name__}
        # The traceback shows where a function of the user's own went wrong.
        my_results["traceback"] = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    results_by_process = all_gather(my_results)
    # The same error in every process, of the first process that has one.
    for number, process_results in enumerate(results_by_process):
        if "error" in process_results and process_results["kind"] is None:
            raise UserError(f"process {number} of {count}: {process_results['error']}")
        if "error" in process_results:
            failure = RuntimeError(
                f"process {number} of {count} failed: {process_results['kind']}: {process_results['error']}"
            )
            failure.add_note(f"In process {number}:\n{process_results['traceback']}")
            raise failure
    return [from_json(results_by_process[i % count]["results"][i // count]) for i in range(len(items))]
