"""Tokenizers behind one protocol, and chat formats as token pieces."""

from sml_jax.text.chat import ChatFormat, simple_format
from sml_jax.text.families import families, family_of, message_format
from sml_jax.text.formats import model_format, template_format
from sml_jax.text.huggingface import HuggingFaceTokenizer, load_tokenizer
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import SentencePieceTokenizer, Tokenizer

__all__ = [
    "ChatFormat",
    "HuggingFaceTokenizer",
    "MessageFormat",
    "SentencePieceTokenizer",
    "Tokenizer",
    "families",
    "family_of",
    "load_tokenizer",
    "message_format",
    "model_format",
    "simple_format",
    "template_format",
]
