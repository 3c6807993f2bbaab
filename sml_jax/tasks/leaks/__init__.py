"""Whether a teacher's turn gives the answer away: one test for the answers of mathematics and of programming."""

from sml_jax.tasks.leaks.detect import leaks

__all__ = ["leaks"]
