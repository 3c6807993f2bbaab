"""Checkpoints of a run: all that it needs to go on as if it had never been stopped, by Orbax, verified by manifests."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from sml_jax.common.errors import UserError
from sml_jax.distributed.processes import run_on_primary
from sml_jax.learn.train_state import TrainState
from sml_jax.models.config import DecoderConfig
from sml_jax.run.checkpoint_record import Record, read_record, steps_to_keep
from sml_jax.run.checkpoint_search import TEMPORARY_MARK, newest_checkpoint
from sml_jax.run.io.manifest import write_manifest
from sml_jax.run.state import RunPosition

# Room on the disk for what lies beside the arrays: records, manifests, Orbax's own notes.
_BYTES_BESIDE_ARRAYS = 200_000


@contextmanager
def failed_writes_reported_once() -> Iterator[None]:
    """A context manager in whose body a checkpoint that cannot be written is reported by our UserError alone.

    It hides the tracebacks that Orbax and asyncio would log for each part of the checkpoint.
    """

    def reported_by_us(record: logging.LogRecord) -> bool:
        from_a_writer = "orbax" in record.pathname or "asyncio" in record.pathname
        return not from_a_writer or record.levelno < logging.ERROR

    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        logger.addFilter(reported_by_us)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(reported_by_us)


class Checkpointer:
    """Writes a run's checkpoints, deletes old ones, and restores the newest.

    It keeps the last ones, the best one of the latest stage, and the last one of each stage. A checkpoint `steps/N`
    holds `params/` (of what is trained), `optimizer/`, `position/` and `manifest.json`, and `rollout_params/` where
    rollouts lag behind updates. It is written in the background under another name, and renamed when it is complete.

    Args:
      folder: `checkpoints/steps` of the run, in the run's folder; made if it does not exist.
      keep: how many of the newest checkpoints are kept.

    Attributes:
      config: of the model, written into each checkpoint as `model.json` so that it can be loaded as a model; None
        where what is trained is no model by itself (adapters).
      newest_record: the record of the newest complete checkpoint at the start; None if there was none.
      damaged: a sentence for each damaged checkpoint that was newer, and was moved to `checkpoints/damaged`.

    Raises:
      UserError: there are checkpoints and none is complete.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self._folder = folder.absolute()
        self.config: DecoderConfig | None = None
        # One process looks and tells the others: each would see the disk at another moment.
        record, self.damaged = run_on_primary(partial(newest_checkpoint, self._folder))
        self.newest_record = None if record is None else Record.from_json(record)
        self._step_being_written = 0
        self._last_saved: RunPosition | None = self.newest_record.position if self.newest_record else None
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=True,
                preservation_policy=_KeepNewestBestAndStageEnds(self._folder, keep),
                async_options=ocp.options.AsyncOptions(post_finalization_callback=self._seal),
            ),
        )

    def save(
        self, record: Record, state: TrainState, replace: bool = False, rollout_params: dict | None = None
    ) -> None:
        """Writes a checkpoint in the background.

        An older checkpoint of the same step is replaced. Nothing is written if the last checkpoint has the same
        position, unless that is asked for.

        Args:
          record: what the checkpoint holds besides arrays.
          state: only what is trained is written; the frozen base under adapters is not.
          replace: whether to replace the last checkpoint even if it has the same position.
          rollout_params: see `RunState.rollout_params`; None for none.

        Raises:
          UserError: this checkpoint or the one before it could not be written.
        """
        if record.position == self._last_saved and not replace:
            return
        total_steps = record.position.total
        trained_state = state.trainable()
        # Copies: the next update donates the state's buffers while the write is still under way.
        items = jax.tree.map(jnp.copy, _array_items(trained_state, rollout_params))
        try:
            # One write at a time: `_seal` must know which checkpoint it seals.
            self._manager.wait_until_finished()
            self._check_room(items)
            self._step_being_written = total_steps
            if total_steps in self._manager.all_steps():
                self._manager.delete(total_steps)
            self._manager.save(
                total_steps,
                args=ocp.args.Composite(
                    position=ocp.args.JsonSave(asdict(record)),
                    **{name: ocp.args.StandardSave(item) for name, item in items.items()},
                ),
            )
        except Exception as error:
            raise self._unwritten(error) from error
        self._last_saved = record.position

    def restore(self, like: TrainState, rollout_params: dict | None = None) -> tuple[TrainState, dict | None]:
        """The state in the newest complete checkpoint, which must exist, and its `RunState.rollout_params`.

        Args:
          like: a state of the same structure. It says where arrays are laid out, and the frozen base under adapters is
            taken from it.
          rollout_params: parameters of the same structure; None where the checkpoint holds none.

        Raises:
          UserError: the checkpoint holds arrays of other names or shapes.
        """
        assert self.newest_record is not None
        total_steps, trained_state = self.newest_record.position.total, like.trainable()
        # Orbax reads each array to where the one of `like` lies.
        items = jax.tree.map(ocp.utils.to_shape_dtype_struct, _array_items(trained_state, rollout_params))
        try:
            restored = self._manager.restore(
                total_steps,
                args=ocp.args.Composite(**{name: ocp.args.StandardRestore(item) for name, item in items.items()}),
            )
        except (ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"the checkpoint of step {total_steps} does not fit this configuration ({reason}): use another "
                "--workdir, or the configuration that it was made with"
            ) from error
        state = TrainState(restored["optimizer"]["step"], restored["params"], restored["optimizer"]["opt_state"])
        return state.with_base(like.params), restored.get("rollout_params")

    def finish(self) -> None:
        """Waits for writes that are under way.

        Raises:
          UserError: a checkpoint could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritten(error) from error

    def close(self) -> None:
        """Waits for writes under way and releases Orbax. A write that failed is not reported: call `finish` first."""
        try:
            self._manager.close()
        except Exception:
            self._manager = None

    def _seal(self) -> None:
        """Adds the model's configuration and the manifest to a checkpoint.

        Orbax calls it in process 0 when all items are written, before the checkpoint gets its name.
        """
        temporary_folder = self._folder / f"{self._step_being_written}{TEMPORARY_MARK}"
        # Orbax writes under the final name where renaming is not atomic.
        for folder in (temporary_folder, self._folder / str(self._step_being_written)):
            if folder.is_dir():
                if self.config is not None:
                    (folder / "model.json").write_text(self.config.to_json() + "\n")
                write_manifest(folder)
                return
        raise FileNotFoundError(f"no checkpoint of step {self._step_being_written} below {self._folder}")

    def _check_room(self, *trees: Any) -> None:
        """Raises OSError if the disk has too little room, with a clearer text than a failed write would have."""
        needed_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(trees)) + _BYTES_BESIDE_ARRAYS
        free_bytes = int(run_on_primary(lambda: shutil.disk_usage(self._folder).free))
        if free_bytes < needed_bytes:
            raise OSError(f"it takes {needed_bytes / 1e6:.1f} MB and the disk has {free_bytes / 1e6:.1f} MB")

    def _unwritten(self, error: Exception) -> UserError:
        """Makes the UserError for a checkpoint that could not be written, with the first line of the reason."""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return UserError(
            f"a checkpoint could not be written to {self._folder} ({reason}): make room, or see that the folder can be "
            "written to, and start again with the same --workdir, which goes on from the checkpoint before"
        )


class _KeepNewestBestAndStageEnds(policies.PreservationPolicy):
    """Tells Orbax which checkpoints stay; see `steps_to_keep`."""

    def __init__(self, folder: Path, newest: int):
        self._folder, self._newest = folder, newest

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """For each checkpoint, whether it is kept."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        # Orbax asks in every process, at the same moment; all must answer alike.
        return list(run_on_primary(partial(self._preserved, steps)))

    def _preserved(self, steps: Sequence[int]) -> list[bool]:
        """For each step, whether its checkpoint is kept."""
        records = {step: read_record(self._folder / str(step)) for step in steps}
        kept_steps = steps_to_keep(records, self._newest)
        return [step in kept_steps for step in steps]


def _array_items(state: TrainState, rollout_params: dict | None) -> dict[str, Any]:
    """The items of a checkpoint that hold arrays, by name."""
    items = {"params": state.params, "optimizer": {"step": state.step, "opt_state": state.opt_state}}
    return items if rollout_params is None else {**items, "rollout_params": rollout_params}
