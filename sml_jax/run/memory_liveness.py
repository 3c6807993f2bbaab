"""How much memory a traced function needs beside its arguments, worked out without compiling it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# Other names for an array that is there already.
_VIEWS = ("reshape", "squeeze", "expand_dims", "stop_gradient", "optimization_barrier")
# Compilers compute these wherever they are read, and never write them to memory.
_NEVER_STORED = (*_VIEWS, "broadcast_in_dim", "iota")
# Their result cannot be written over an operand: each of its numbers is made of many, or stands elsewhere.
_NOT_IN_PLACE = ("dot_general", "conv_general_dilated", "sort", "transpose", "rev", "gather", "concatenate")


def temporary_bytes(traced: Any, wide_bfloat16: bool) -> float:
    """Bytes that a function needs beside its arguments, at the moment when it needs most.

    It goes through the equations in their order. An array counts from where it is made to where it is read for the last
    time, and results of elementwise arithmetic are written over an operand that nobody reads again. A compiler
    may fuse more than that, or less (`tests/run/test_memory_liveness.py` says how near the two are).

    Args:
      traced: from `jax.stages.Traced`, of a function for one device.
      wide_bfloat16: whether bfloat16 takes as much as float32, since XLA for CPUs computes in that.
    """
    # A donated array is written over, unless XLA makes a wider copy of it first.
    donated = [
        leaf.donated and not (wide_bfloat16 and leaf.dtype == jnp.bfloat16)
        for leaf in jax.tree.leaves(traced.args_info)
    ]
    jaxpr = traced.jaxpr.jaxpr
    # An argument that is not used is no argument of the traced function.
    overwritten = jaxpr.invars if len(donated) != len(jaxpr.invars) else _where(jaxpr.invars, donated)
    return _Counter(wide_bfloat16).peak(jaxpr, set(overwritten))


def _where(items: list[Any], chosen: list[bool]) -> list[Any]:
    """Those of the items for which `chosen` is True."""
    return [item for item, is_chosen in zip(items, chosen, strict=True) if is_chosen]


class _Counter:
    """Counts the bytes of arrays that are there at once; see `temporary_bytes` for the argument."""

    def __init__(self, wide_bfloat16: bool):
        self._wide_bfloat16 = wide_bfloat16

    def peak(self, jaxpr: Jaxpr, overwritten: set[Any] = frozenset()) -> float:  # type: ignore[assignment]
        """The most bytes of arrays that the equations make, and of those within them.

        Args:
          jaxpr: the equations. overwritten: those of its inputs that results may be written over.
        """
        last_reads = _last_reads(jaxpr)
        dying: dict[int, list[Any]] = {}
        for variable, index in last_reads.items():
            dying.setdefault(index, []).append(variable)
        sizes: dict[Any, float] = {variable: self._size(variable) for variable in overwritten}
        live = peak = 0.0
        for index, equation in enumerate(jaxpr.eqns):
            name = equation.primitive.name
            within = max((self.peak(part) for part in _inner_jaxprs(equation)), default=0.0)
            stored = [] if name in _NEVER_STORED else equation.outvars
            made = sum(map(self._size, stored))
            sizes |= {variable: self._size(variable) for variable in stored}
            # What is read here for the last time; inputs of the function are no arrays that it made.
            gone_variables = dying.get(index, [])
            gone = sum(sizes.get(variable, 0.0) for variable in gone_variables if variable not in overwritten)
            given = sum(sizes.get(variable, 0.0) for variable in gone_variables)
            in_place = 0.0 if name in _NOT_IN_PLACE else min(given, made)
            peak = max(peak, live + made - in_place + within)
            # A donated input stays in its place under another name, so it is not counted a second time.
            over_inputs = min(max(in_place - gone, 0.0), made)
            live += made - gone - over_inputs
            live -= sum(self._size(variable) for variable in stored if variable not in last_reads)
        return peak

    def _size(self, variable: Any) -> float:
        """Bytes of an array."""
        dtype = variable.aval.dtype
        if jnp.issubdtype(dtype, jax.dtypes.extended):
            dtype = jnp.uint32  # a random key
        elif dtype == jnp.bfloat16 and self._wide_bfloat16:
            dtype = jnp.float32
        return float(math.prod(variable.aval.shape) * jnp.dtype(dtype).itemsize)


def _last_reads(jaxpr: Jaxpr) -> dict[Any, int]:
    """The number of the equation that reads an array last; that of no equation for results of the function."""
    end = len(jaxpr.eqns)
    last_reads: dict[Any, int] = {}
    for index, equation in enumerate(jaxpr.eqns):
        last_reads |= {variable: index for variable in equation.invars if not isinstance(variable, Literal)}
    last_reads |= {variable: end for variable in jaxpr.outvars if not isinstance(variable, Literal)}
    # An array is there as long as any view of it is read, so the last views come first.
    for index in range(end - 1, -1, -1):
        equation = jaxpr.eqns[index]
        if equation.primitive.name in _VIEWS:
            for source, view in zip(equation.invars, equation.outvars, strict=False):
                if not isinstance(source, Literal):
                    last_reads[source] = max(last_reads.get(source, index), last_reads.get(view, index))
    return last_reads


def _inner_jaxprs(equation: Any) -> Iterator[Jaxpr]:
    """The functions within an equation: bodies of loops, branches, calls."""
    for value in equation.params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
