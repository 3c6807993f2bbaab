"""What the sandbox raises."""

from __future__ import annotations


class NoProtection(Exception):
    """No walls that work on this machine are strong enough for the caller; the text says why and names the cure."""


class NotStarted(OSError):
    """The machine could not start a run, so nothing can be said of the program. Starting it again may work."""
