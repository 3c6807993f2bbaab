"""Stages of a run: learning to speak, offline SML and Q-priming, online SML, and their single-turn baselines."""

from sml_jax.run.base_models import Pretrained, RandomWeights
from sml_jax.run.context import RunContext
from sml_jax.run.score import StepScore
from sml_jax.run.stage import Stage
from sml_jax.run.stages.corpus import Corpus
from sml_jax.run.stages.offline import Offline
from sml_jax.run.stages.online import Online
from sml_jax.run.state import RunState

__all__ = ["Corpus", "Offline", "Online", "Pretrained", "RandomWeights", "RunContext", "RunState", "Stage", "StepScore"]
