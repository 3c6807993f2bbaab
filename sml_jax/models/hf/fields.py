"""Reading a config.json so that no field is ignored: each one is used, known to be harmless, or an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from sml_jax.common.errors import UserError

_log = logging.getLogger(__name__)

# Fields that do not change the logits of a causal language model: token ids, how the model was trained, saved or
# converted and by what, generation defaults, heads of other tasks, and which of two equal implementations runs.
_HARMLESS = """
    architectures model_type transformers_version transformers.js_config _name_or_path name_or_path _commit_hash
    _model_name_or_path model_name_or_path base_model_name_or_path is_llama_config auto_map model_max_length
    torch_dtype dtype torchscript use_bfloat16 tf_legacy_loss _attn_implementation attn_implementation
    _attn_implementation_autoset _flash_attn_2_enabled use_flash_attn use_flash_attention use_flash_attention_2
    use_sdpa unsloth_fixed unsloth_version loss_type gradient_checkpointing neftune_noise_alpha
    bos_token_id eos_token_id pad_token_id sep_token_id unk_token_id cls_token_id decoder_start_token_id
    tokenizer_class prefix initializer_range use_cache cache_implementation is_decoder
    return_dict use_return_dict output_hidden_states output_attentions output_scores return_dict_in_generate
    id2label label2id num_labels problem_type finetuning_task task_specific_params chunk_size_feed_forward
    do_sample temperature top_k top_p typical_p max_length min_length num_beams num_beam_groups diversity_penalty
    length_penalty repetition_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    num_return_sequences early_stopping forced_bos_token_id forced_eos_token_id remove_invalid_values
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
"""
HARMLESS = frozenset(_HARMLESS.split())

# Fields that the decoder does not implement, and their values (besides null) for "not used".
UNUSED: Mapping[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_bidirectional_attention": (False,),
    "is_causal": (True,),
    "use_mrope": (False,),
    "pretraining_tp": (1,),
    "partial_rotary_factor": (1,),
    "rope_interleaved": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({},),
}
# How the names of fields end that set a dropout, which the decoder does not have.
_DROPOUT = ("dropout", "_pdrop", "_dropout_prob")

_REQUIRED: Any = object()


class Fields:
    """A JSON object that is read by taking its fields out one by one. `finish` refuses the fields that are left.

    A field that is null counts as absent, except in `cap`. The methods raise a UserError for a field that is absent and
    has no default, or whose value does not fit; the error names field and value.

    Args:
      values: the object, which is copied.
      where: the object's name in errors.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "config.json"):
        self._remaining = dict(values)
        self.where = where

    def error(self, name: str, value: Any, why: str) -> UserError:
        """Returns, but does not raise, a UserError that names a field, its value (shortened) and the problem `why`."""
        try:
            value_text = repr(value)
        except RecursionError:
            # Lists may be nested more deeply than Python can print.
            value_text = f"a {type(value).__name__}"
        return UserError(
            f"{self.where}: {name} is {value_text if len(value_text) < 200 else value_text[:200] + '...'}; {why}"
        )

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        """Takes the value of the field `name`, of any type; the default if it is absent or null."""
        # Taken fields are removed, so that `finish` sees the others.
        value = self._remaining.pop(name, None)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise UserError(f"{self.where}: {name} is missing: fetch the file again")
        return default

    def integer(self, name: str, default: Any = _REQUIRED) -> int:
        """Takes a field whose value must be a whole number of at least 1; the default if it is absent or null."""
        value = self.take(name, default)
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole or value < 1:
            raise self.error(name, value, "it must be a whole number of at least 1")
        return int(value)

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        """Takes a field whose value must be a number above 0; the default if it is absent or null."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
            raise self.error(name, value, "it must be a number above 0")
        return float(value)

    def cap(self, name: str, default: float | None) -> float | None:
        """Takes a cap that may be switched off: a number above 0, None if it is null, the default if it is absent."""
        if name in self._remaining and self._remaining[name] is None:
            del self._remaining[name]
            return None
        return default if name not in self._remaining else self.number(name)

    def flag(self, name: str, default: bool) -> bool:
        """Takes a field whose value must be true or false; the default if it is absent or null."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self.error(name, value, "it must be true or false")
        return value

    def only(self, name: str, allowed: tuple[Any, ...], default: Any = _REQUIRED) -> Any:
        """Takes a field that must have one of the allowed values; the default if it is absent or null."""
        value = self.take(name, default)
        if value not in allowed:
            raise self.error(name, value, f"supported is {' or '.join(map(repr, allowed))}")
        return value

    def finish(self, harmless: Iterable[str] = HARMLESS) -> None:
        """Checks that the fields that were not taken may be ignored.

        They may if they are null, if `harmless` names them, if their value in `UNUSED` says that they are not used, or
        if they are a dropout of 0. A field whose name begins with an underscore is private to the program that wrote
        it; it is ignored with a warning in the log.

        Args:
          harmless: names of fields to ignore, whatever their value.

        Raises:
          UserError: some other field is left; the error names it and its value.
        """
        # Features that the decoder lacks must be switched off in the file.
        for name, values in UNUSED.items():
            self.only(name, values, values[0])
        for name in harmless:
            self._remaining.pop(name, None)
        private_names = []
        for name, value in self._remaining.items():
            if value is None:
                continue
            if name.startswith("_"):
                private_names.append(name)
            elif name.endswith(_DROPOUT):
                if isinstance(value, bool) or value != 0:
                    raise self.error(name, value, "there is no dropout here, which training would need: set it to 0")
            else:
                raise self.error(name, value, "this field is not supported: use a model without it")
        if private_names:
            # A name may hold anything, and the log is shown on a terminal.
            shown_names = ", ".join(repr(name[:100])[1:-1] for name in private_names[:5])
            more = f" and {len(private_names) - 5} more" if len(private_names) > 5 else ""
            _log.warning("%s: ignored %s%s, private to the program that wrote the file", self.where, shown_names, more)
