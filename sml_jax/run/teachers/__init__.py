"""Teachers that need more than a rollout offers: a model folder of their own, a terminal."""

from sml_jax.run.teachers.other_model import OtherModel
from sml_jax.run.teachers.person import Person

__all__ = ["OtherModel", "Person"]
