"""The one exception that a user may see: it names what is wrong and what to do."""

from __future__ import annotations

# Of an error's text, far above what an error of this package says by itself.
_MAX_CHARACTERS = 4000


class UserError(ValueError):
    """An error that the user can mend. Programs print its text on one line and exit with code 2.

    Characters that cannot be printed, such as a newline within a wrong value, are shown as escapes. A text of megabytes
    is shortened in its middle.

    Args:
      text: what is wrong and how to mend it.
    """

    def __init__(self, text: object = "") -> None:
        shown_text = str(text)
        # A file may hold names of megabytes. What to do stands at the end.
        if len(shown_text) > _MAX_CHARACTERS:
            half = _MAX_CHARACTERS // 2
            shown_text = f"{shown_text[:half]} ... {shown_text[-half:]}"
        # Programs promise one line an error, and a terminal should not be steered by a file's content.
        escaped_characters = (c if c.isprintable() else repr(c)[1:-1] for c in shown_text)
        super().__init__("".join(escaped_characters))


def at_least(settings: object, **least: float | int) -> None:
    """Checks that numeric settings of a dataclass are not too small.

    Args:
      settings: an instance of the dataclass. Errors call it by its `name` if it has one, else by its class.
      least: smallest allowed value, by the attribute's name. An attribute whose value is None is not checked.

    Raises:
      UserError: a value is too small.
    """
    for attribute, smallest in least.items():
        value = getattr(settings, attribute)
        if value is not None and value < smallest:
            raise UserError(f"{_who(settings)}: {attribute} is {value!r}; it must be at least {smallest}")


def within(settings: object, **bounds: tuple[float | int, float | int]) -> None:
    """Checks that numeric settings of a dataclass lie in a range.

    Args:
      settings: an instance of the dataclass. Errors call it by its `name` if it has one, else by its class.
      bounds: (smallest, largest) allowed value, by the attribute's name. An attribute whose value is None is not
        checked; NaN is never allowed.

    Raises:
      UserError: a value is outside its range.
    """
    for attribute, (smallest, largest) in bounds.items():
        value = getattr(settings, attribute)
        if value is not None and not smallest <= value <= largest:
            raise UserError(f"{_who(settings)}: {attribute} is {value!r}; it must be from {smallest:,} to {largest:,}")


def _who(settings: object) -> str:
    """What an error calls the settings."""
    return getattr(settings, "name", None) or type(settings).__name__.lower()


# The smallest and largest seed: what a random key of 32 bits takes.
SEEDS = (0, 2**32 - 1)

EXIT_USER_ERROR = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: start it again
EXIT_PEER_LOST = 76


class Stopped(Exception):
    """Raised to end a run that was asked to stop, after its state was saved.

    Programs print its text and exit with `EXIT_STOPPED`.
    """
