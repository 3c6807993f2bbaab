"""A secret, such as a key, that is used and never shown."""

from __future__ import annotations

import os
import re

from sml_jax.common.errors import UserError

HIDDEN = "[secret]"
# Fewer characters than this are no secret, and hiding them would change ordinary words.
_MIN_LENGTH = 6
# A longer part of the secret is hidden too, since some services show only a part of a key that they refuse.
_PART_LENGTH = 12


_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)


class Secret:
    """A text that must reach no file and no screen. Its `repr` and `str` do not show it.

    Args:
      text: the secret.
    """

    def __init__(self, text: str):
        self._text = text
        size = min(_PART_LENGTH, len(text))
        self._parts = {text[start : start + size] for start in range(len(text) - size + 1)}
        self._size = size

    @classmethod
    def from_environment(cls, variable: str, setting: str) -> Secret:
        """The secret in an environment variable, without blanks around it.

        Args:
          variable: the variable's name.
          setting: the setting that names the variable, for errors.

        Raises:
          UserError: the variable is not set, or holds what can be no key.
        """
        text = os.environ.get(variable, "").strip()
        if not text:
            raise UserError(
                f"the environment variable {variable}, which {setting} names, is not set: export it with the key in "
                f"it, or set {setting} to '' for a service that wants none"
            )
        # What is wrong with the key is said without the key.
        if len(text) < _MIN_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
            raise UserError(
                f"the environment variable {variable} holds no key: a key has {_MIN_LENGTH} or more ASCII characters "
                f"and no blanks; set {setting} to '' for a service that wants none"
            )
        return cls(text)

    def reveal(self) -> str:
        """The secret itself, for the one place that uses it."""
        return self._text

    def hide(self, text: str) -> str:
        """The text with the secret, and every longer part of it, replaced by `HIDDEN`."""
        # Most texts hold no part at all, which a look at every window tells.
        size = self._size
        found = [start for start in range(len(text) - size + 1) if text[start : start + size] in self._parts]
        if not found:
            return text
        marks = bytearray(len(text))
        for start in found:
            marks[start : start + size] = b"\x01" * size
        # Each run of marked characters becomes one replacement.
        runs = re.finditer(rb"\x01+|\x00+", bytes(marks))
        return "".join(HIDDEN if run[0][0] else text[run.start() : run.end()] for run in runs)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    __str__ = __repr__


def hide_environment_secrets(text: str) -> str:
    """The text without the values of environment variables whose names say that they hold a key, token or password."""
    for variable, value in os.environ.items():
        if _SECRET_NAMES.search(variable) and len(value) >= _MIN_LENGTH:
            text = Secret(value).hide(text)
    return text
