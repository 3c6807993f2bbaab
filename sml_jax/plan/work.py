"""Arithmetic of a traced function: what was asked for, before a compiler splits it over devices or does it twice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax.extend


def traced_flops(jaxpr: Any, loop_steps: int | None = None) -> float:
    """FLOPs of all matrix products and convolutions of a traced function, on all devices together.

    A multiply and an add count as two. A scan's body counts as often as it runs, and of branches the most expensive.

    Args:
      jaxpr: the function, from `jax.stages.Traced.jaxpr`.
      loop_steps: iterations to count for every while loop, which a trace does not tell; None for one.
    """
    inner = jaxpr.jaxpr if hasattr(jaxpr, "jaxpr") else jaxpr
    return float(sum(_equation_flops(equation, loop_steps) for equation in inner.eqns))


def _equation_flops(equation: Any, loop_steps: int | None) -> float:
    """FLOPs of one equation, with those of the functions inside it."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        # Every number of the result is a sum over the contracted dimensions.
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[d] for d in contracted)
    if name == "conv_general_dilated":
        # Every number of the result is a sum over the kernel's spatial dimensions and its input features.
        dimensions, kernel = params["dimension_numbers"], equation.invars[1].aval.shape
        summed_size = math.prod(kernel[d] for d in dimensions.rhs_spec[1:])
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * summed_size
    if name == "cond":
        return max(traced_flops(branch, loop_steps) for branch in params["branches"])
    if name == "pallas_call" and params.get("cost_estimate") is not None:
        return float(params["cost_estimate"].flops)
    times = {"scan": params.get("length", 1), "while": loop_steps or 1}.get(name, 1)
    if name == "pallas_call":
        times = math.prod(params["grid_mapping"].grid)
    if name == "shard_map":  # the function inside is traced for one device
        times = math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    return float(times * sum(traced_flops(inner, loop_steps) for inner in _inner_jaxprs(params)))


def kernel_flops(jaxpr: Any) -> dict[str, float]:
    """FLOPs of one call of each Pallas kernel in a traced function, by the kernel's name.

    A compiled module does not show what a kernel computes, so its arithmetic must be counted in the trace.

    Args:
      jaxpr: the function, from `jax.stages.Traced.jaxpr`.
    """
    inner = jaxpr.jaxpr if hasattr(jaxpr, "jaxpr") else jaxpr
    by_name: dict[str, float] = {}
    for equation in inner.eqns:
        if equation.primitive.name == "pallas_call":
            by_name[equation.params["name"]] = _equation_flops(equation, None)
        else:
            for part in _inner_jaxprs(equation.params):
                by_name |= kernel_flops(part)
    return by_name


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """The functions among an equation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr):
                yield item
