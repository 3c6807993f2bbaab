"""The key-value store that the processes of a run share: small values pass from host to host without a device.

JAX has such a store for its own start-up, which lives in process 0, but no public name for it. Orbax takes it from the
same place as this module, the only one of the project that touches JAX's private names.
"""

from __future__ import annotations

from typing import Any

import jax
from jax._src import distributed

_WAIT_MS = 10_000  # of one request; a longer wait is many of these


def process_id() -> int:
    """This process's id, from 0; 0 for a single process. The call does not initialise JAX's devices."""
    return int(distributed.global_state.process_id) if _client() is not None else 0


def process_count() -> int:
    """The number of processes of the run, 1 for a single one. The call does not initialise JAX's devices."""
    return int(distributed.global_state.num_processes) if _client() is not None else 1


def put(key: str, value: bytes) -> None:
    """Sets the value of a key in the shared store, replacing the one it had."""
    _client().key_value_set_bytes(key, value, allow_overwrite=True)


def wait_for(key: str) -> bytes:
    """Waits until some process has set the key, and returns its value.

    There is no time limit. If the process that should set the key is lost, the heartbeats end this process.
    """
    while True:
        try:
            return bytes(_client().blocking_key_value_get_bytes(key, _WAIT_MS))
        except jax.errors.JaxRuntimeError as error:
            # The request timed out, so ask again. Any other error is a real one.
            if not str(error).startswith("DEADLINE_EXCEEDED"):
                raise


def read_folder(folder: str) -> dict[str, bytes]:
    """The keys in the shared store that begin with FOLDER/, and their values.

    Returns:
      The values by the rest of the key after FOLDER/.
    """
    return {key.removeprefix(f"{folder}/"): bytes(value) for key, value in _client().key_value_dir_get_bytes(folder)}


def delete(key: str) -> None:
    """Deletes a key from the shared store."""
    _client().key_value_delete(key)


def _client() -> Any:
    """JAX's client of the store; None in a run of one process."""
    return distributed.global_state.client
