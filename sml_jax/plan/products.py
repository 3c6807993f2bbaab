"""Arithmetic of matrix products, in whatever form a compiler leaves them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from sml_jax.plan.hlo import Computation, Instruction, Shape

_DIMS = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_GROUPS = re.compile(r"(feature|batch)_group_count=(\d+)")
_COST = re.compile(r'"flops":\s*"?(\d+)')
_WINDOW = re.compile(r"window=\{([^}]*)\}")


def product_flops(where: Computation, instruction: Instruction, kernels: Mapping[str, float]) -> float:
    """FLOPs of one instruction: 0 for all that is no product. Loops and fusions are the caller's to follow.

    Compilers turn products into convolutions (TPU), into library calls, or, where a factor is a vector, into a sum of
    elementwise products, which still says that it came from `dot_general`.

    Args:
      kernels: FLOPs of a call of those that state none, by name (`kernel_flops`).
    """
    if instruction.opcode == "dot":
        return _dot(where, instruction)
    if instruction.opcode == "convolution":
        return _convolution(where, instruction)
    if instruction.opcode == "custom-call":
        stated = _COST.search(instruction.rest)  # a kernel's own estimate
        return float(stated[1]) if stated else kernels.get(re.sub(r"(\.\d+|\.clone)*$", "", instruction.name), 0.0)
    if instruction.opcode == "reduce" and "dot_general" in instruction.op_name.rsplit("/", 1)[-1]:
        return 2.0 * _shape(where, instruction.operands[0]).size
    return 0.0


def _shape(where: Computation, name: str) -> Shape:
    return where.instructions[name].shapes[0]


def _dot(where: Computation, instruction: Instruction) -> float:
    found = _DIMS.search(instruction.rest)
    dims = [int(d) for d in found[1].split(",") if d] if found else []
    left = _shape(where, instruction.operands[0])
    return 2.0 * instruction.shapes[0].size * math.prod(left.dims[d] for d in dims)


def _convolution(where: Computation, instruction: Instruction) -> float:
    """Two for each product of an input with a kernel's element that is no padding.

    A product of batches is written as a convolution whose spatial dimensions are the batches', padded and dilated so
    that each meets only its own: of these, only what meets counts.
    """
    labels = _LABELS.search(instruction.rest)
    assert labels is not None, instruction
    left, right = (_shape(where, name) for name in instruction.operands[:2])
    lhs, rhs, out = labels[1], labels[2], labels[3]
    result = instruction.shapes[0]
    window = _window(instruction.rest)
    groups = dict(_GROUPS.findall(instruction.rest))
    meeting = 1.0
    for axis, (kind_left, kind_right, kind_out) in enumerate(_spatial(lhs, rhs, out)):
        meeting *= _meetings(
            left.dims[lhs.index(kind_left)],
            right.dims[rhs.index(kind_right)],
            result.dims[out.index(kind_out)],
            {name: values[axis] for name, values in window.items()},
        )
    batch, features = result.dims[out.index("b")], result.dims[out.index("f")]
    inner = right.dims[rhs.index("i")]
    return 2.0 * meeting * batch * features * inner / int(groups.get("batch", 1))


def _spatial(lhs: str, rhs: str, out: str) -> list[tuple[str, str, str]]:
    """Spatial dimensions are numbered alike on both sides and in the result."""
    numbers = sorted(sign for sign in lhs if sign.isdigit())
    return [(number, number, number) for number in numbers if number in rhs and number in out]


def _window(attributes: str) -> dict[str, list[tuple[int, ...]]]:
    """The window's settings by name: a tuple of numbers for each spatial dimension."""
    found = _WINDOW.search(attributes)
    if not found:
        return {}
    settings = dict(part.split("=", 1) for part in found[1].split() if "=" in part)
    return {
        name: [tuple(int(n) for n in one.split("_")) for one in value.split("x")]
        for name, value in settings.items()
        if name in ("stride", "pad", "lhs_dilate", "rhs_dilate")
    }


def _meetings(size: int, kernel: int, outputs: int, window: dict[str, tuple[int, ...]]) -> int:
    """Pairs of an output's place and a kernel's element that meet an input, in one dimension."""
    stride, low = window.get("stride", (1,))[0], window.get("pad", (0, 0))[0]
    dilate, spread = window.get("lhs_dilate", (1,))[0], window.get("rhs_dilate", (1,))[0]
    at = np.arange(outputs)[:, None] * stride + np.arange(kernel)[None] * spread - low
    return int(np.count_nonzero((at >= 0) & (at % dilate == 0) & (at // dilate < size)))
