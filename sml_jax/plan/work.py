"""Arithmetic of a traced function: what is asked for, before a compiler splits it over devices or does it twice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax.extend


def traced_flops(jaxpr: Any, open_trips: int | None = None) -> float:
    """FLOPs of all matrix products and convolutions, a multiply and an add counted as two.

    Args:
      jaxpr: of the whole function. A scan's body counts as often as it runs, of branches the dearest.
      open_trips: how often a while loop's body runs, of which a trace does not tell; None for once.
    """
    inner = jaxpr.jaxpr if hasattr(jaxpr, "jaxpr") else jaxpr
    return float(sum(_equation(equation, open_trips) for equation in inner.eqns))


def _equation(equation: Any, open_trips: int | None) -> float:
    name, given = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = given["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[d] for d in contracted)
    if name == "conv_general_dilated":
        numbers, kernel = given["dimension_numbers"], equation.invars[1].aval.shape
        places = math.prod(kernel[d] for d in numbers.rhs_spec[1:])
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * places
    if name == "cond":
        return max(traced_flops(branch, open_trips) for branch in given["branches"])
    if name == "pallas_call" and given.get("cost_estimate") is not None:
        return float(given["cost_estimate"].flops)
    times = {"scan": given.get("length", 1), "while": open_trips or 1}.get(name, 1)
    if name == "pallas_call":
        times = math.prod(given["grid_mapping"].grid)
    if name == "shard_map":  # what is traced is one device's
        times = math.prod(given["mesh"].shape[axis] for axis in given["newly_manual_axes"])
    return float(times * sum(traced_flops(inner, open_trips) for inner in _inner(given)))


def kernel_flops(jaxpr: Any) -> dict[str, float]:
    """FLOPs of one call of each Pallas kernel in a traced function, by the kernel's name: compiled, they are opaque."""
    inner = jaxpr.jaxpr if hasattr(jaxpr, "jaxpr") else jaxpr
    found: dict[str, float] = {}
    for equation in inner.eqns:
        if equation.primitive.name == "pallas_call":
            found[equation.params["name"]] = _equation(equation, None)
        else:
            for part in _inner(equation.params):
                found |= kernel_flops(part)
    return found


def _inner(given: dict[str, Any]) -> Iterator[Any]:
    for value in given.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr):
                yield item
