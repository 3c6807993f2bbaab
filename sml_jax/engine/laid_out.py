"""Parameters that an engine has laid out for its kernels, shared among all that use the same ones at the same time."""

from __future__ import annotations

import weakref
from typing import Any

import jax
from jax.sharding import Mesh

from sml_jax.engine.jitted import JittedKernels
from sml_jax.engine.layer_params import LayerParams, join_adapters
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import place_params
from sml_jax.models.lora import split_lora


class LaidOutParams:
    """Lays parameters out for an engine's kernels, and what is in use already only once.

    The frozen teacher and the student have the same base where adapters are trained, and so have both sides where the
    student is its own teacher, or still the initial one. What is laid out is as large as the parameters, so a second
    copy would cost as much again.

    Nothing is kept alive: once nobody uses what was laid out, it is gone, and made anew when it is asked for.

    Args:
      model: the decoder. mesh: the engine's. jitted: its kernels.
    """

    def __init__(self, model: Decoder, mesh: Mesh, jitted: JittedKernels):
        self._model, self._mesh, self._jitted = model, mesh, jitted
        # Of the base that was laid out last: its arrays, what they were laid out as, and how that is put together.
        self._sources: list[weakref.ref] = []
        self._results: list[weakref.ref] = []
        self._structure: Any = None

    def of(self, params: Any) -> LayerParams:
        """What the kernels take for `{"params": ...}`, with or without adapters."""
        base, adapters = split_lora(params)
        weights = self._shared(base) or self._lay_out(base)
        if not adapters:
            return weights
        return join_adapters(weights, self._jitted.prepare_adapters(place_params(self._mesh, self._model, adapters)))

    def _lay_out(self, base: Any) -> LayerParams:
        """Lays the parameters out, adapters aside, and remembers the result as long as somebody uses it."""
        weights: LayerParams = self._jitted.prepare(place_params(self._mesh, self._model, base))
        results, self._structure = jax.tree.flatten(weights)
        self._sources = [weakref.ref(leaf) for leaf in jax.tree.leaves(base)]
        self._results = [weakref.ref(leaf) for leaf in results]
        return weights

    def _shared(self, base: Any) -> LayerParams | None:
        """What was laid out of these very arrays, if all of it is still in use; else None."""
        leaves = jax.tree.leaves(base)
        results = [reference() for reference in self._results]
        # Arrays never change, so the same arrays hold the same numbers. An update donates what it trains, and gives
        # others back.
        same_sources = len(leaves) == len(self._sources) and all(
            leaf is reference() for leaf, reference in zip(leaves, self._sources, strict=True)
        )
        if not results or not same_sources or any(result is None for result in results):
            return None
        weights: LayerParams = jax.tree.unflatten(self._structure, results)
        return weights
