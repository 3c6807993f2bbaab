"""Tokenizers behind one protocol, and chat formats as token pieces."""

from sml_jax.text.chat import ChatFormat, simple_format
from sml_jax.text.families import default_system, families, family_of, message_format
from sml_jax.text.huggingface import HuggingFaceTokenizer, load_tokenizer
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import SentencePieceTokenizer, Tokenizer

__all__ = [
    "ChatFormat",
    "HuggingFaceTokenizer",
    "MessageFormat",
    "SentencePieceTokenizer",
    "Tokenizer",
    "default_system",
    "families",
    "family_of",
    "load_tokenizer",
    "message_format",
    "simple_format",
]
