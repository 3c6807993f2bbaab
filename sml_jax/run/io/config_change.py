"""Differences of two operative configurations: training goes on under the configuration that it began with."""

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
    "Experiment.memory_gb",
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
# What the evaluation after training reads, and training does not.
_EVALUATION = ("suites", "sharded_suites", "model_labels")
_NAME = re.compile(r"([\w./]+) *= *")
_MACRO = re.compile(r"%([\w.]+)")
# A reference to what gin makes or calls, such as @online/optimizers.adamw(): scope and name.
_REFERENCE = re.compile(r"@(?:([\w./]*)/)?([\w.]+)")
_NOT_SET = "(not set)"


def config_changes(before: str, after: str) -> dict[str, tuple[str, str]]:
    """The settings of training that differ between two configurations.

    Args:
      before, after: gin text as `gin.operative_config_str` writes it. Macros are replaced by their values, so that it
        does not matter whether a value is written in place or as a macro.

    Returns:
      The old and the new value by the setting's name, such as {"online.Online.steps": ("100", "200")}, sorted.
      Settings in `MAY_CHANGE` are left out, and those that the evaluation after training alone reads.
    """
    old_settings, new_settings = settings(before), settings(after)
    trained_names = _training_names(old_settings) | _training_names(new_settings)
    changes = {}
    for name in sorted(trained_names):
        old_value, new_value = old_settings.get(name, _NOT_SET), new_settings.get(name, _NOT_SET)
        if old_value != new_value and not _may_change(name):
            changes[name] = old_value, new_value
    return changes


def references(value: str) -> list[tuple[str, str]]:
    """What a setting's value refers to: (scope, name) of each reference, in order; the scope is "" for none."""
    return _REFERENCE.findall(value)


def split_name(name: str) -> tuple[str, str, str]:
    """Scope ("" for none), configurable and parameter of a setting, such as ("math", "suites.Suite", "problems")."""
    scope, _, selector = name.rpartition("/")
    configurable, _, parameter = selector.rpartition(".")
    return scope, configurable, parameter


def _training_names(values: Mapping[str, str]) -> set[str]:
    """The names of those settings that training reads, or may read.

    They are found by following the references from the experiment on, but not into what it evaluates. A text without an
    experiment is of training as a whole.
    """
    experiments = [name for name in values if split_name(name)[1].split(".")[-1] == "Experiment"]
    if not experiments:
        return set(values)
    evaluation_names = {name for name in experiments if split_name(name)[2] in _EVALUATION}
    # A reference within a scope is resolved in that scope too, so every scope met on the way counts for all names.
    reached, scopes = {split_name(name)[1] for name in experiments}, {""}
    while True:
        found = {
            name
            for name in values
            if split_name(name)[1] in reached
            and set(split_name(name)[0].split("/")) <= scopes
            and name not in evaluation_names
        }
        met = [reference for name in found for reference in references(values[name])]
        more_reached = reached | {name for _, name in met}
        more_scopes = scopes | {part for scope, _ in met for part in scope.split("/")}
        if (more_reached, more_scopes) == (reached, scopes):
            return found
        reached, scopes = more_reached, more_scopes


def _may_change(name: str) -> bool:
    """Whether a setting may change; `name` is as gin writes it: scope/module.Class.parameter."""
    _, configurable, parameter = split_name(name)
    owner = configurable.split(".")[-1]
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
