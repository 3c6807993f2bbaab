"""Checkpoints of a run: all that it needs to go on as if it had never been stopped, by Orbax, verified by manifests."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from sml_jax.common.errors import UserError
from sml_jax.distributed.processes import run_on_primary
from sml_jax.learn.update import TrainState
from sml_jax.models.config import DecoderConfig
from sml_jax.run.io.manifest import changed, damage, write_manifest
from sml_jax.run.state import RunPosition

_TEMPORARY = ".orbax-checkpoint-tmp"
_NOTES_BYTES = 200_000  # what lies beside the arrays


@dataclass(frozen=True)
class Record:
    """What a checkpoint says besides the state.

    Random keys and the order of problems are functions of the seed and the position, so these two are their state.

    Attributes:
      position: how far the run had come. seed: of everything random.
      config: the operative configuration. problems: fingerprint of the training problems.
      logs: length in bytes of each log file of the run's folder.
      files: SHA-256 of other files of the run's folder that the stage needs to go on, by name.
      scores: of the steps since the last checkpoint that was due, higher is better.
      stage_end: the position is the end of its stage.
    """

    position: RunPosition
    seed: int = 0
    config: str = ""
    problems: str = ""
    logs: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    scores: Sequence[float] = ()
    stage_end: bool = False

    @property
    def score(self) -> float | None:
        """How good the student was; None if nothing measured it, or not in numbers."""
        mean = sum(self.scores) / len(self.scores) if self.scores else math.nan
        return mean if math.isfinite(mean) else None


@contextmanager
def failed_writes_reported_once() -> Iterator[None]:
    """Within it, a checkpoint that cannot be written is reported by our error alone.

    Orbax and asyncio would log a traceback for each part of the checkpoint beside it.
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
    """Keeps a run's last checkpoints, the best one, and the last one of each stage.

    A checkpoint `steps/N` holds `params/` (of what is trained), `optimizer/`, `position/` and `manifest.json`. It is
    written in the background to another name and renamed when it is whole.

    Args:
      folder: `checkpoints/steps` of the run, in the run's folder; made if it is not there.
      keep: how many of the last are kept.

    Attributes:
      config: of the model, written into each checkpoint as `model.json` so that it can be loaded as a model; None
        where what is trained is no model of its own (adapters).
      found: the record of the newest checkpoint that is whole; None if there is none.
      damaged: for each newer checkpoint, which is not whole, what is wrong; it was moved to `checkpoints/damaged`.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self._folder = folder.absolute()
        self.config: DecoderConfig | None = None
        found, self.damaged = run_on_primary(partial(_newest, self._folder))
        self.found = None if found is None else _record(found)
        self._saving = 0
        self._saved: RunPosition | None = self.found.position if self.found else None
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=True,
                preservation_policy=_Keep(self._folder, keep),
                async_options=ocp.options.AsyncOptions(post_finalization_callback=self._seal),
            ),
        )

    def save(self, record: Record, state: TrainState) -> None:
        """Writes a checkpoint in the background; an older one of the same step is replaced. A base is left out.

        Raises:
          UserError: this or the last checkpoint could not be written.
        """
        if record.position == self._saved:
            return
        total = record.position.total
        kept = state.trainable()
        # Copies: the next update donates the state's buffers while the write is still under way.
        params, rest = jax.tree.map(jnp.copy, (kept.params, _rest(kept)))
        try:
            self._manager.wait_until_finished()  # `_seal` must know which checkpoint it seals
            self._check_room(params, rest)
            self._saving = total
            if total in self._manager.all_steps():
                self._manager.delete(total)
            self._manager.save(
                total,
                args=ocp.args.Composite(
                    position=ocp.args.JsonSave(asdict(record)),
                    params=ocp.args.StandardSave(params),
                    optimizer=ocp.args.StandardSave(rest),
                ),
            )
        except Exception as error:
            raise self._unwritten(error) from error
        self._saved = record.position

    def restore(self, like: TrainState) -> TrainState:
        """The state of `found`.

        Args:
          like: a state of the same structure, whose base (under adapters) is taken over.
        """
        assert self.found is not None
        total, kept = self.found.position.total, like.trainable()
        params, rest = jax.tree.map(ocp.utils.to_shape_dtype_struct, (kept.params, _rest(kept)))
        try:
            read = self._manager.restore(
                total,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(params), optimizer=ocp.args.StandardRestore(rest)
                ),
            )
        except (ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"the checkpoint of step {total} does not fit this configuration ({reason}): use another --workdir, or "
                "the configuration that it was made with"
            ) from error
        state = TrainState(read["optimizer"]["step"], read["params"], read["optimizer"]["opt_state"])
        return state.with_base(like.params)

    def finish(self) -> None:
        """Waits for writes that are under way.

        Raises:
          UserError: one could not be made.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritten(error) from error

    def close(self) -> None:
        """Waits for writes that are under way, and lets go. One that failed is not reported: call `finish` first."""
        try:
            self._manager.close()
        except Exception:
            self._manager = None

    def _seal(self) -> None:
        """Called by Orbax in process 0 when a checkpoint's items are whole, before it gets its name."""
        for folder in (self._folder / f"{self._saving}{_TEMPORARY}", self._folder / str(self._saving)):
            if folder.is_dir():
                if self.config is not None:
                    (folder / "model.json").write_text(self.config.to_json() + "\n")
                write_manifest(folder)
                return
        raise FileNotFoundError(f"no checkpoint of step {self._saving} below {self._folder}")

    def _check_room(self, *trees: Any) -> None:
        """Raises OSError where the disk has no room: sooner, and with fewer words, than writing would."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(trees)) + _NOTES_BYTES
        free = int(run_on_primary(lambda: shutil.disk_usage(self._folder).free))
        if free < needed:
            raise OSError(f"it takes {needed / 1e6:.1f} MB and the disk has {free / 1e6:.1f} MB")

    def _unwritten(self, error: Exception) -> UserError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return UserError(
            f"a checkpoint could not be written to {self._folder} ({reason}): make room, or see that the folder can be "
            "written to, and start again with the same --workdir, which goes on from the checkpoint before"
        )


class _Keep(policies.PreservationPolicy):
    """Which checkpoints stay: the last ones, the best of the latest stage, and the last of each stage."""

    def __init__(self, folder: Path, last: int):
        self._folder, self._last = folder, last

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        return list(run_on_primary(partial(self._preserved, steps)))  # Orbax asks in every process, at the same moment

    def _preserved(self, steps: Sequence[int]) -> list[bool]:
        records = {step: _read(self._folder / str(step)) for step in steps}
        return [step in kept_steps(records, self._last) for step in steps]


def kept_steps(records: Mapping[int, Record | None], last: int) -> set[int]:
    """The steps of the checkpoints to keep.

    Args:
      records: by step; None for one that cannot be read (yet). last: how many of the newest.
    """
    known = {step: record for step, record in records.items() if record is not None}
    kept = set(sorted(records)[-last:]) | {step for step, record in known.items() if record.stage_end}
    scored = [(record.position.stage, record.score, step) for step, record in known.items() if record.score is not None]
    return kept | {step for *_, step in sorted(scored)[-1:]}


def _rest(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "opt_state": state.opt_state}


def _newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest whole checkpoint's record, as JSON, and what is wrong with those after it, which are set aside.

    Raises:
      UserError: there are checkpoints and none is whole. They are left where they are.
    """
    for leftover in folder.glob(f"*{_TEMPORARY}*"):  # here, since Orbax would do it beside the first write
        shutil.rmtree(leftover)
    troubles: dict[int, str] = {}
    steps = [int(path.name) for path in folder.glob("*") if re.fullmatch(r"\d+", path.name)]
    for step in sorted(steps, reverse=True):
        path = folder / str(step)
        record = _read(path)
        trouble = damage(path) or ("" if record else "position/metadata cannot be read")
        if record is not None and not trouble and not (trouble := changed(folder.parent.parent, record.files)):
            return asdict(record), [_set_aside(folder / str(bad), why) for bad, why in troubles.items()]
        troubles[step] = trouble
    if troubles:
        listed = "; ".join(f"step {step}: {why}" for step, why in troubles.items())
        raise UserError(
            f"every checkpoint in {folder} is damaged ({listed}): start again with another --workdir, or put whole "
            "ones in their place"
        )
    return None, []


def _set_aside(path: Path, trouble: str) -> str:
    """Moves a damaged checkpoint to `checkpoints/damaged`, so that its step can be saved again; says so."""
    aside = _free_name(path.parent.parent / "damaged", path.name)
    try:
        os.rename(path, aside)
    except OSError as error:
        raise UserError(
            f"the checkpoint {path} is damaged ({trouble}) and cannot be moved aside ({error.strerror}): remove it"
        ) from error
    return f"the checkpoint of step {path.name} is damaged ({trouble}); it now lies in {aside}"


def _free_name(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    taken = sum(path.name.partition("-")[0] == name for path in folder.iterdir())
    return folder / (f"{name}-{taken}" if taken else name)


def _record(values: Mapping[str, Any]) -> Record:
    return Record(**{**values, "position": RunPosition(**values["position"])})


def _read(folder: Path) -> Record | None:
    """The record of a checkpoint; None if it is not there or is none."""
    try:
        return _record(json.loads((folder / "position" / "metadata").read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return None
