"""The short lists of lengths that ragged things are padded to."""

from __future__ import annotations

SMALLEST = 64  # tokens; anything shorter saves less time than compiling for it takes


def powers_of_two_up_to(longest: int) -> tuple[int, ...]:
    """The powers of two from 64 on that are below `longest`, then `longest`.

    Whatever is padded to one of them takes less than twice its own length, from 64 on, and few lengths are compiled.
    """
    powers = (SMALLEST << i for i in range(longest.bit_length()))
    return (*(size for size in powers if size < longest), longest)
