"""What two operative configurations say differently: a run goes on under the configuration it began with."""

from __future__ import annotations

import re
from collections.abc import Mapping

# How a run is carried out, not what it computes: these may change between stop and start.
FREE = (
    "Experiment.checkpoint_every",
    "Experiment.checkpoints_kept",
    "Experiment.data",
    "Experiment.fsdp",
    "Experiment.alerts",
    "Experiment.max_concurrent",
    "Experiment.samples_shown",
    "Experiment.tensor",
)
_NAME = re.compile(r"([\w./]+) *= *")
_MACRO = re.compile(r"%([\w.]+)")


def config_changes(before: str, after: str) -> list[str]:
    """The settings that differ, one line each.

    Args:
      before, after: gin text as `gin.operative_config_str` writes it. Macros are followed, so that a value is the same
        wherever it is written.

    Returns:
      Lines such as "Online.steps: 100 -> 200"; none where only `FREE` settings differ.
    """
    old, new = settings(before), settings(after)
    lines = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name, "(not set)"), new.get(name, "(not set)")
        if one != other and not _free(name):
            lines.append(f"{name}: {one} -> {other}")
    return lines


def _free(name: str) -> bool:
    """`name` is as gin writes it: scope/module.Class.parameter."""
    *_, owner, parameter = name.split("/")[-1].split(".")
    return owner == "AlertThresholds" or f"{owner}.{parameter}" in FREE


def settings(text: str) -> dict[str, str]:
    """Values by parameter, macros put in, white space as one blank; comments and imports left out."""
    values: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        started = _NAME.match(line)
        if started:
            name = started[1]
            values[name] = line[started.end() :].rstrip("\\").strip()
        elif line[:1].isspace() and name:
            values[name] = f"{values[name]} {line.strip()}".strip()
        else:
            name = ""
    macros = {name: value for name, value in values.items() if "." not in name}
    return {name: _filled(value, macros) for name, value in values.items() if "." in name}


def _filled(value: str, macros: Mapping[str, str]) -> str:
    for _ in range(len(macros) + 1):  # a macro may name another
        if not _MACRO.search(value):
            break
        value = _MACRO.sub(lambda found: macros.get(found[1], found[0]), value)
    return value
