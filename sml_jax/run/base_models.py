"""Base models: where the student that a run begins with, and its frozen teacher, come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.sharding import Mesh

from sml_jax.common.errors import UserError
from sml_jax.models.config import RUN_FIELDS, DecoderConfig, LoraConfig, canonical, run_settings
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.hf.checkpoint import load_model, read_model_config, with_overrides
from sml_jax.models.layout import shard_params
from sml_jax.models.lora import add_lora
from sml_jax.text.tokenizer import Tokenizer

# How many fields of a wrong shape an error lists: a model of another size differs in most of them.
_DIFFERENCES_SHOWN = 3


@dataclass(frozen=True)
class Pretrained:
    """A model on disk.

    Attributes:
      path: a model folder, a Hugging Face folder, a GGUF file, a finished run's folder, or the name of a model that
        ships with the package.
      config: the shape that the model must have (`gin/models`); its settings of computation (see `overrides`) are then
        used too. None accepts whatever is at `path`.
      overrides: settings of computation to change: attention, dtype, cache_dtype, param_dtype, max_length, remat,
        scan_unroll, rollout_weights.
      lora: adapters to train in place of the weights; None trains the weights.
    """

    path: str = "pocket"
    config: DecoderConfig | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        _check_lora(self.config, "Pretrained")

    def load(self, tokenizer: Tokenizer, seed: int, mesh: Mesh, padding: int = 0) -> tuple[Decoder, dict]:
        """Loads the model and its parameters, which are laid out over `mesh`.

        Args:
          tokenizer: the model must have its vocabulary.
          seed: of the adapters' first values.
          mesh: devices that the parameters are laid out over.
          padding: the most rows that the model's embedding may have beyond the tokenizer's vocabulary.

        Returns:
          The model, and its parameters with those of the adapters.

        Raises:
          UserError: there is no such model, it has another shape than `config`, or its vocabulary is not the
            tokenizer's.
        """
        # What is on disk says the shape; how it is computed is the recipe's to say, by `config` and then `overrides`.
        settings = {} if self.config is None else run_settings(self.config)
        model, params = load_model(self.path, mesh, {**settings, **self.overrides})
        if self.config is not None:
            _check_shape(model.config, self.config, self.path)
        _check_vocabulary(model, tokenizer, padding, f"the model at {self.path}")
        # Adapters start at no effect, so with or without them the run begins with the same student.
        if self.lora is not None:
            model, params = add_lora(model, params, self.lora, jax.random.key(seed))
        return model, shard_params(mesh, model, params)

    def model_config(self) -> DecoderConfig:
        """The configuration of the model that `load` returns, adapters included, read without its weights.

        Raises:
          UserError: there is no such model, or it has another shape than `config`.
        """
        # A shape that the recipe gives needs no file: `sml-jax plan` works without the weights.
        config = read_model_config(self.path) if self.config is None else self.config
        return dataclasses.replace(with_overrides(config, self.overrides), lora=self.lora)


@dataclass(frozen=True)
class RandomWeights:
    """A model with fresh random weights, drawn from the run's seed.

    Attributes:
      config: the model's shape and settings of computation.
      lora: adapters to train in place of the weights; None trains the weights.
    """

    config: DecoderConfig
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        _check_lora(self.config, "RandomWeights")

    def load(self, tokenizer: Tokenizer, seed: int, mesh: Mesh, padding: int = 0) -> tuple[Decoder, dict]:
        """Makes the model with fresh weights and its parameters, which are laid out over `mesh`.

        Args:
          tokenizer: the model must have its vocabulary.
          seed: of all weights.
          mesh: devices that the parameters are laid out over.
          padding: the most rows that the model's embedding may have beyond the tokenizer's vocabulary.

        Returns:
          The model, and its parameters with those of the adapters.

        Raises:
          UserError: the configured vocabulary is not the tokenizer's.
        """
        # The seed alone says the weights, so every process and every mesh begins with the same ones.
        model = Decoder(self.model_config())
        _check_vocabulary(model, tokenizer, padding, "the model's configuration")
        return model, shard_params(mesh, model, init_params(model, jax.random.key(seed)))

    def model_config(self) -> DecoderConfig:
        """The configuration of the model that `load` returns, adapters included."""
        return dataclasses.replace(self.config, lora=self.lora)


BaseModel = Pretrained | RandomWeights


def _check_lora(config: DecoderConfig | None, class_name: str) -> None:
    """Raises UserError if a shape names adapters: a recipe says them in one place, the base model's own `lora`."""
    if config is not None and config.lora is not None:
        raise UserError(
            f"DecoderConfig.lora is given in the configuration of a base: bind {class_name}.lora in its place"
        )


def _check_shape(on_disk: DecoderConfig, configured: DecoderConfig, path: str) -> None:
    """Raises UserError unless the model on disk has the shape that the recipe was given."""
    # Two configurations may say one shape in different words.
    on_disk, configured = canonical(on_disk), canonical(configured)
    # Settings of computation may differ, and adapters are added later.
    shape_fields = [
        field.name for field in dataclasses.fields(DecoderConfig) if field.name not in (*RUN_FIELDS, "lora")
    ]
    differing = [name for name in shape_fields if getattr(on_disk, name) != getattr(configured, name)]
    if differing:
        differences = ", ".join(
            f"{name} {getattr(on_disk, name)!r} for {getattr(configured, name)!r}"
            for name in differing[:_DIFFERENCES_SHOWN]
        )
        more_text = f" and {len(differing) - _DIFFERENCES_SHOWN} more" if len(differing) > _DIFFERENCES_SHOWN else ""
        raise UserError(
            f"the model at {path} is not of the configured shape ({differences}{more_text}): set Pretrained.config = "
            "None, which takes the model's own shape (--gin.Pretrained.config=None), or give the gin/models file of "
            "that model"
        )


def _check_vocabulary(model: Decoder, tokenizer: Tokenizer, padding: int, what: str) -> None:
    """Raises UserError unless the model has the tokenizer's tokens and at most `padding` more."""
    # Families round their embedding up for the hardware; rows without a token are suppressed when sampling.
    if not 0 <= model.config.vocab_size - tokenizer.vocab_size <= padding:
        raise UserError(
            f"{what} has a vocabulary of {model.config.vocab_size} tokens but the tokenizer has "
            f"{tokenizer.vocab_size}: give the tokenizer that the model was trained with"
        )
