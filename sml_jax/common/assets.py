"""Models and tokenizers that ship with the package, by the names that recipes give them."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

# Looked up by path, so that reading a model does not import the world that it was made for.
SHIPPED_MODELS = {"pocket": _PACKAGE / "pocket" / "assets" / "base"}
SHIPPED_TOKENIZERS = {"pocket": _PACKAGE / "pocket" / "assets" / "pocket.model"}
