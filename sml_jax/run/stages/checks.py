"""Checks of settings that several stages have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.learn.losses import PolicyLoss, TokenLoss


def check_name(name: str) -> None:
    """Checks that a stage's name can stand in logs and in names of files.

    Raises:
      UserError: it cannot; letters, digits, and `_ . -` between them are allowed.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"stage: name is {name!r}; give letters, digits, and _ . - between them")


def check_buckets(stage: str, buckets: Sequence[int] | None, longest: int = 0) -> None:
    """Checks that padded lengths rise, and that the last one holds the longest row.

    Args:
      stage: its name, for the error.
      buckets: padded lengths; None is always right.
      longest: tokens of the longest row.

    Raises:
      UserError: they do not rise, or the last one is too short.
    """
    if buckets is None:
        return
    if not buckets or buckets[0] < 1 or list(buckets) != sorted(set(buckets)):
        raise UserError(f"{stage}: buckets are {buckets}; give rising lengths, such as (64, 128, 256)")
    if buckets[-1] < longest:
        raise UserError(
            f"{stage}: buckets end at {buckets[-1]}, but dialogues have up to {longest} tokens: add a larger one, or "
            "set buckets to None"
        )


def check_function(stage: str, setting: str, value: Any) -> None:
    """Checks that a setting is a function or another object that can be called, and no class.

    Args:
      stage: its name, for the error.
      setting: the setting's name, for the error.
      value: of the setting.

    Raises:
      UserError: it is a class, or cannot be called.
    """
    if isinstance(value, type):
        raise UserError(f"{stage}: {setting} is the class {value.__name__}: write {value.__name__}() for what it makes")
    if not callable(value):
        raise UserError(f"{stage}: {setting} is {value!r}; give a function, such as @my_module.my_{setting}")


def tell_of_unlimited_mismatch(stage: str, rollout_weights: str | None, loss: PolicyLoss | TokenLoss) -> None:
    """Prints a line where a policy learns from what rounded weights sampled, and nothing limits what a token weighs.

    Args:
      stage: its name, for the line.
      rollout_weights: of the model, `DecoderConfig.rollout_weights`.
      loss: of the stage. A function of the user's own may have a limit of its own, so nothing is said of it.
    """
    if rollout_weights is not None and isinstance(loss, PolicyLoss) and loss.mismatch_cap is None:
        print(
            f"{stage}: rollout_weights are {rollout_weights}, so sampler and trainer differ: "
            "--gin.PolicyLoss.mismatch_cap=2.0 limits what a token weighs that the sampler found unlikely",
            flush=True,
        )
