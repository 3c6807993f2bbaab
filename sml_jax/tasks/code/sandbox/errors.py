"""What the sandbox raises."""

from __future__ import annotations


class NoProtection(Exception):
    """No sandbox that works on this machine is as strong as the caller asks for. The text says why, and what to do."""


class NotStarted(OSError):
    """The machine could not start the processes of a run, so there is no verdict on the program. A retry may work."""
