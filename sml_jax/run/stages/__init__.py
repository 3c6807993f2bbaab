"""The stages that ship: text for base models, offline SML and Q-priming, online SML, and single-turn baselines."""

from sml_jax.run.stages.corpus import Corpus
from sml_jax.run.stages.offline import Offline
from sml_jax.run.stages.online import Online

__all__ = ["Corpus", "Offline", "Online"]
