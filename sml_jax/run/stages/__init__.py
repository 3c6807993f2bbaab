"""The stages that ship: text for base models, imitation of a task's dialogues, offline and online SML, Q-priming."""

from sml_jax.run.stages.corpus import Corpus
from sml_jax.run.stages.imitation import Imitation
from sml_jax.run.stages.offline import Offline
from sml_jax.run.stages.online import Online

__all__ = ["Corpus", "Imitation", "Offline", "Online"]
