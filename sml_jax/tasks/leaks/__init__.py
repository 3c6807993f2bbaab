"""Whether a teacher's turn gives the answer away: one test for the answers of mathematics and of programming."""

from sml_jax.tasks.leaks.detect import leaks
from sml_jax.tasks.leaks.one_step import one_step, one_step_in_dialogue

__all__ = ["leaks", "one_step", "one_step_in_dialogue"]
