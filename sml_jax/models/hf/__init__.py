"""Models on disk: our own folders, and Hugging Face folders read and written."""

from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.models.hf.config import config_from_hf, config_to_hf
from sml_jax.models.hf.save import save_hf

__all__ = ["config_from_hf", "config_to_hf", "load_model", "save_hf", "save_model"]
