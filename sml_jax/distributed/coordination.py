"""The key-value store that the processes of a run share: small values passed from host to host without a device.

JAX keeps such a store for its own start-up, in process 0, and has no public name for it; Orbax takes it from the same
place as this module, the only one here that touches JAX's private names.
"""

from __future__ import annotations

from typing import Any

import jax
from jax._src import distributed

_SLICE_MS = 10_000  # one wait; a longer one is many of these


def process_id() -> int:
    """This process's number, from 0. No backend is started."""
    return int(distributed.global_state.process_id) if _client() is not None else 0


def process_count() -> int:
    """How many processes the run has. No backend is started."""
    return int(distributed.global_state.num_processes) if _client() is not None else 1


def put(key: str, value: bytes) -> None:
    """Sets a key, over what it held before."""
    _client().key_value_set_bytes(key, value, allow_overwrite=True)


def wait_for(key: str) -> bytes:
    """The value of a key, as soon as some process has set it. Waits for ever: the watch over peers ends a vain wait."""
    while True:
        try:
            return bytes(_client().blocking_key_value_get_bytes(key, _SLICE_MS))
        except jax.errors.JaxRuntimeError as error:
            if not str(error).startswith("DEADLINE_EXCEEDED"):
                raise


def below(folder: str) -> dict[str, bytes]:
    """All keys below `folder` that are set, without its name."""
    return {key.removeprefix(f"{folder}/"): bytes(value) for key, value in _client().key_value_dir_get_bytes(folder)}


def remove(key: str) -> None:
    """Takes a key out of the store."""
    _client().key_value_delete(key)


def _client() -> Any:
    return distributed.global_state.client
