"""Differences of two operative configurations: a run goes on under the configuration that it began with."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Settings of how a run is carried out, not of what it computes: they may change between stop and start.
MAY_CHANGE = (
    "Experiment.checkpoint_every",
    "Experiment.checkpoints_kept",
    "Experiment.data",
    "Experiment.evaluate_every",
    "Experiment.fsdp",
    "Experiment.alerts",
    "Experiment.max_concurrent",
    "Experiment.samples_shown",
    "Experiment.tensor",
    "Experiment.trackers",
    "Remote.attempt_seconds",
    "Remote.concurrency",
    "Remote.first_pause",
    "Remote.key_variable",
    "Remote.longest_pause",
    "Remote.reply_seconds",
    "Remote.retries",
)
_NAME = re.compile(r"([\w./]+) *= *")
_MACRO = re.compile(r"%([\w.]+)")


def config_changes(before: str, after: str) -> list[str]:
    """The settings that differ between two configurations, one line each.

    Args:
      before, after: gin text as `gin.operative_config_str` writes it. Macros are replaced by their values, so that it
        does not matter whether a value is written in place or as a macro.

    Returns:
      Lines such as "Online.steps: 100 -> 200", sorted. Settings in `MAY_CHANGE` are left out.
    """
    old_settings, new_settings = settings(before), settings(after)
    lines = []
    for name in sorted(old_settings.keys() | new_settings.keys()):
        old_value, new_value = old_settings.get(name, "(not set)"), new_settings.get(name, "(not set)")
        if old_value != new_value and not _may_change(name):
            lines.append(f"{name}: {old_value} -> {new_value}")
    return lines


def _may_change(name: str) -> bool:
    """Whether a setting may change; `name` is as gin writes it: scope/module.Class.parameter."""
    *_, owner, parameter = name.split("/")[-1].split(".")
    # Thresholds of warnings change nothing that is computed.
    return owner == "AlertThresholds" or f"{owner}.{parameter}" in MAY_CHANGE


def settings(text: str) -> dict[str, str]:
    """The values that a gin text binds.

    Returns:
      By parameter (`scope/module.Class.parameter`), the value as text. Macros are replaced by their values, and line
      breaks in long values by single spaces. Comments and imports are left out.
    """
    values: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        binding_match = _NAME.match(line)
        if binding_match:
            name = binding_match[1]
            values[name] = line[binding_match.end() :].rstrip("\\").strip()
        # Gin wraps long values: what is indented belongs to the setting above.
        elif line[:1].isspace() and name:
            values[name] = f"{values[name]} {line.strip()}".strip()
        else:
            name = ""
    macros = {name: value for name, value in values.items() if "." not in name}
    return {name: _filled(value, macros) for name, value in values.items() if "." in name}


def _filled(value: str, macros: Mapping[str, str]) -> str:
    """`value` with each macro replaced by its value."""
    # A macro may name another, so values are filled in until none is left.
    for _ in range(len(macros) + 1):
        if not _MACRO.search(value):
            break
        value = _MACRO.sub(lambda found: macros.get(found[1], found[0]), value)
    return value
