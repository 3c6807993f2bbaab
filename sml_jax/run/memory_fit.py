"""Fits a run to its devices before its first step, and keeps what was chosen when the run goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sml_jax.common.atomic import replacing
from sml_jax.common.errors import UserError
from sml_jax.common.files import read_bytes
from sml_jax.common.json_text import parse_json
from sml_jax.distributed.processes import assert_equal, is_primary, run_on_primary
from sml_jax.models.decoder import Decoder
from sml_jax.run.context import RunContext
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.json_lines import writing
from sml_jax.run.memory_account import Account, Need
from sml_jax.run.memory_choice import Chooser, Open, Settings, changes, remat_name
from sml_jax.run.memory_limit import gb_text
from sml_jax.run.stage import Stage
from sml_jax.run.workload import MAX_CONCURRENT, MICRO_BATCH_SIZE


def fitted(
    context: RunContext, stages: Sequence[Stage], max_concurrent: int | None, taught: bool, limit: float | None
) -> tuple[RunContext, list[Stage]]:
    """The context and the stages of a run with settings under which it fits its devices.

    What a recipe says stays as it is. What it leaves open (`Experiment.max_concurrent` and `micro_batch_size` of None,
    `DecoderConfig.remat` of "auto") has its usual value wherever that fits, and the nearest that fits where it does
    not. A run that goes on keeps what it began with: smaller micro-batches add up in another order.

    Args:
      context: of the run, whose engines were made by `check` of its stages and its evaluation.
      stages: of the run; none for an evaluation alone, which leaves nothing in the folder.
      max_concurrent: of the recipe.
      taught: whether a suite has a teacher that runs the model.
      limit: bytes of a device that may be used, see `memory_limit.device_limit`; None for no check.

    Raises:
      UserError: the run does not fit.
    """
    sizes = [getattr(stage, "micro_batch_size", 0) for stage in stages]
    remat = context.model.config.remat
    open_settings = Open(max_concurrent is None, remat == "auto", tuple(size is None for size in sizes))
    asked = Settings(
        max_concurrent or MAX_CONCURRENT,
        remat_name(remat),
        tuple(MICRO_BATCH_SIZE if size is None else size for size in sizes),
    )
    folder = context.bookkeeper.folder
    chosen = run_on_primary(partial(_recorded, folder)) if stages else None
    if chosen is not None:
        settings = _settings_of(chosen, asked, open_settings, folder.fit_path)
        _print_line(f"memory: {_text(settings)}, as the run began")
    elif limit is None:
        settings = asked
    else:
        settings, largest = Chooser(account := Account(context, stages, taught), limit).choose(asked, open_settings)
        _print_line(_line(account, asked, settings, largest, limit))
    assert_equal("what fits the devices", json.dumps(dataclasses.asdict(settings)))
    if stages:
        run_on_primary(partial(_write, folder.fit_path, settings))
    return _with(context, settings), _stages_with(stages, settings)


def _with(context: RunContext, settings: Settings) -> RunContext:
    """The context with other settings, and its engines if nothing has changed for them."""
    model = context.model
    if remat_name(model.config.remat) != settings.remat:
        model = Decoder(dataclasses.replace(model.config, remat=settings.remat))
    if model is context.model and settings.max_concurrent == context.max_concurrent:
        return context
    return dataclasses.replace(context, model=model, max_concurrent=settings.max_concurrent, engines={})


def _stages_with(stages: Sequence[Stage], settings: Settings) -> list[Stage]:
    """The stages with their micro-batches."""
    return [
        dataclasses.replace(stage, micro_batch_size=size)  # type: ignore[type-var]
        if getattr(stage, "micro_batch_size", size) != size
        else stage
        for stage, size in zip(stages, settings.micro_batch_sizes, strict=True)
    ]


def _recorded(folder: RunFolder) -> dict | None:
    """What was chosen for the run that the folder holds; None if it holds none, or one of before there were choices."""
    if not folder.config_path.exists() or not folder.fit_path.exists():
        return None
    content = parse_json(read_bytes(folder.fit_path).decode("utf-8", "replace"))
    return content if isinstance(content, dict) else {}


def _settings_of(chosen: dict, asked: Settings, open_settings: Open, path: Path) -> Settings:
    """The settings that a run began with, where the recipe leaves them open."""
    try:
        found = Settings(
            int(chosen["max_concurrent"]), str(chosen["remat"]), tuple(map(int, chosen["micro_batch_sizes"]))
        )
        sizes = zip(found.micro_batch_sizes, asked.micro_batch_sizes, open_settings.micro_batch_sizes, strict=True)
        return Settings(
            found.max_concurrent if open_settings.max_concurrent else asked.max_concurrent,
            found.remat if open_settings.remat else asked.remat,
            tuple(kept if is_open else size for kept, size, is_open in sizes),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not say what the run began with: give another --workdir") from error


def _write(path: Path, settings: Settings) -> None:
    """Writes the settings down for a run that goes on."""
    with writing(path), replacing(path) as file:
        file.write((json.dumps(dataclasses.asdict(settings)) + "\n").encode())


def _line(account: Account, asked: Settings, settings: Settings, largest: Need | None, limit: float) -> str:
    """What is said at the start of a run."""
    if largest is None:
        return f"memory: {_text(settings)}"
    text = f"memory: {largest.name} needs most, about {gb_text(largest.bytes)} of {gb_text(limit)} GB a device"
    text = f"{text}, with {_text(settings)}"
    changed = changes(asked, settings, [type(stage).__name__ for stage in account.stages])
    return f"{text}; chosen so that it fits: {' and '.join(changed)}" if changed else text


def _text(settings: Settings) -> str:
    """The settings in words."""
    sizes = list(dict.fromkeys(size for size in settings.micro_batch_sizes if size))
    updates = f", remat '{settings.remat}'" if settings.micro_batch_sizes else ""
    return f"max_concurrent {settings.max_concurrent}{updates}" + (
        f", micro_batch_size {' and '.join(map(str, sizes))}" if sizes else ""
    )


def _print_line(text: str) -> None:
    """Prints a line once, whatever the number of processes."""
    if is_primary():
        print(text, flush=True)
