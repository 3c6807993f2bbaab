"""The one exception that a user may see: it names what is wrong and what to do."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend. Programs print its text on one line and exit with code 2."""


def at_least(settings: object, **least: int) -> None:
    """Checks numbers among the settings of a dataclass.

    Args:
      settings: an instance; where it has a `name`, errors call it so.
      least: by attribute, the smallest value that works. An attribute that is None is left alone.

    Raises:
      UserError: a value is too small.
    """
    who = getattr(settings, "name", None) or type(settings).__name__.lower()
    for attribute, low in least.items():
        value = getattr(settings, attribute)
        if value is not None and value < low:
            raise UserError(f"{who}: {attribute} is {value!r}; it must be at least {low}")


EXIT_USER_ERROR = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: start it again
EXIT_PEER_LOST = 76


class Stopped(Exception):
    """A run that was asked to stop has saved its state. Programs print its text and exit with `EXIT_STOPPED`."""
