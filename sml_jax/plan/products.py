"""Arithmetic of matrix products in a compiled module, in whatever form the compiler leaves them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from sml_jax.plan.hlo import Computation, Instruction, Shape

_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_GROUPS = re.compile(r"(feature|batch)_group_count=(\d+)")
_COST = re.compile(r'"flops":\s*"?(\d+)')
_WINDOW = re.compile(r"window=\{([^}]*)\}")


def product_flops(computation: Computation, instruction: Instruction, kernels: Mapping[str, float]) -> float:
    """FLOPs of one instruction; 0 if it is no product. What it calls (a loop's body, a fusion) is not included.

    Compilers turn products into convolutions (TPU), into library calls, or, where a factor is a vector, into a sum of
    elementwise products, whose metadata still says that it came from `dot_general`.

    Args:
      computation: the one that holds the instruction.
      kernels: FLOPs of one call, by name, of custom kernels whose instruction states none (see `work.kernel_flops`).
    """
    if instruction.opcode == "dot":
        return _dot_flops(computation, instruction)
    if instruction.opcode == "convolution":
        return _convolution_flops(computation, instruction)
    if instruction.opcode == "custom-call":
        stated = _COST.search(instruction.rest)  # a kernel's own estimate comes first
        return float(stated[1]) if stated else kernels.get(re.sub(r"(\.\d+|\.clone)*$", "", instruction.name), 0.0)
    # A product with a vector that became a sum: each summed element is one multiply and one add.
    if instruction.opcode == "reduce" and "dot_general" in instruction.op_name.rsplit("/", 1)[-1]:
        return 2.0 * _shape_of(computation, instruction.operands[0]).size
    return 0.0


def _shape_of(computation: Computation, name: str) -> Shape:
    """The shape of what an instruction makes."""
    return computation.instructions[name].shapes[0]


def _dot_flops(computation: Computation, instruction: Instruction) -> float:
    """Every number of the result is a sum over the contracted dimensions."""
    match = _CONTRACTED.search(instruction.rest)
    contracted = [int(d) for d in match[1].split(",") if d] if match else []
    left = _shape_of(computation, instruction.operands[0])
    return 2.0 * instruction.shapes[0].size * math.prod(left.dims[d] for d in contracted)


def _convolution_flops(computation: Computation, instruction: Instruction) -> float:
    """Two for each product of an input element with a kernel element; products with padding do not count.

    A TPU's compiler writes a batched product as a convolution whose spatial dimensions are the batches. They are padded
    and dilated so that each batch meets only its own kernel, and only the pairs that meet count.
    """
    # Labels such as bf_io->bf name each dimension: b batch, f features, i and o the kernel's features, digits the
    # spatial dimensions.
    labels = _LABELS.search(instruction.rest)
    assert labels is not None, instruction
    left, right = (_shape_of(computation, name) for name in instruction.operands[:2])
    lhs, rhs, out = labels[1], labels[2], labels[3]
    result = instruction.shapes[0]
    window = _window(instruction.rest)
    groups = dict(_GROUPS.findall(instruction.rest))
    pair_count = 1.0
    for axis, label in enumerate(_spatial_labels(lhs, rhs, out)):
        pair_count *= _pairs_that_meet(
            left.dims[lhs.index(label)],
            right.dims[rhs.index(label)],
            result.dims[out.index(label)],
            {name: values[axis] for name, values in window.items()},
        )
    batch, features = result.dims[out.index("b")], result.dims[out.index("f")]
    input_features = right.dims[rhs.index("i")]
    return 2.0 * pair_count * batch * features * input_features / int(groups.get("batch", 1))


def _spatial_labels(lhs: str, rhs: str, out: str) -> list[str]:
    """The labels of spatial dimensions, which are digits and the same for input, kernel and result."""
    return [label for label in sorted(lhs) if label.isdigit() and label in rhs and label in out]


def _window(attributes: str) -> dict[str, list[tuple[int, ...]]]:
    """A convolution's window settings by name: for each spatial dimension, a tuple of numbers."""
    match = _WINDOW.search(attributes)
    if not match:
        return {}
    settings = dict(part.split("=", 1) for part in match[1].split() if "=" in part)
    return {
        name: [tuple(int(n) for n in dimension.split("_")) for dimension in value.split("x")]
        for name, value in settings.items()
        if name in ("stride", "pad", "lhs_dilate", "rhs_dilate")
    }


def _pairs_that_meet(size: int, kernel: int, outputs: int, window: dict[str, tuple[int, ...]]) -> int:
    """Number of pairs of an output position and a kernel element that fall on an input element, in one dimension."""
    stride, padding = window.get("stride", (1,))[0], window.get("pad", (0, 0))[0]
    input_dilation, kernel_dilation = window.get("lhs_dilate", (1,))[0], window.get("rhs_dilate", (1,))[0]
    # Positions in the dilated input, [outputs, kernel]; between two inputs lie `input_dilation` - 1 zeros.
    positions = np.arange(outputs)[:, None] * stride + np.arange(kernel)[None] * kernel_dilation - padding
    return int(
        np.count_nonzero((positions >= 0) & (positions % input_dilation == 0) & (positions // input_dilation < size))
    )
