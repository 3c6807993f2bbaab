"""Bytes that an instruction reads from and writes to the main memory.

What a fusion does inside stays in registers: it reads its operands and writes its result. Where it only takes a slice
of an operand (one layer's weights from all layers'), it reads the slice; where it writes a slice into an operand in
place (the cache), it writes the slice. Operands that the compiler keeps in on-chip memory cost nothing here.
"""

from __future__ import annotations

from sml_jax.plan.hlo import Computation, Instruction, Module, Shape

# These move nothing themselves: they name an array, or wait for a move that was counted where it started.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "partition-id",
    "replica-id",
    "optimization-barrier",
    "add-dependency",
    "domain",
    "send",
    "recv",
    "async-update",
}
_SLICES = ("dynamic-slice", "gather", "slice")
_VIEWS = ("bitcast", "reshape", "get-tuple-element", "copy", "convert", "transpose")
_FREE_CUSTOM_CALLS = ("AssumeGatherIndicesInBound", "Sharding", "AllocateBuffer", "SliceToDynamic")


def call_bytes(module: Module, computation: Computation, instruction: Instruction) -> float:
    """Number of bytes that one instruction reads from and writes to the main memory of its device.

    It must not be an instruction inside a fusion, which moves nothing. What a loop or a call runs is not included: the
    caller counts it.

    Args:
      module: the compiled module.
      computation: the one that holds the instruction.
    """
    opcode = instruction.opcode
    if (
        opcode in _FREE
        or opcode.endswith("-done")
        or (opcode == "custom-call" and any(f'"{name}"' in instruction.rest for name in _FREE_CUSTOM_CALLS))
    ):
        return 0.0
    operands = [computation.instructions[name].shapes for name in instruction.operands]
    results = _results(instruction)
    written_bytes = float(sum(shape.main_bytes for shape in results))
    if opcode == "fusion":
        fused = module.computations[instruction.called("calls")[0]]
        read_bytes = sum(
            min(_fusion_reads(module, fused, i), float(sum(shape.main_bytes for shape in shapes)))
            for i, shapes in enumerate(operands)
            if any(shape.main_bytes for shape in shapes)
        )
        return float(read_bytes + (_fusion_writes(module, fused) if written_bytes else 0.0))
    if opcode == "dynamic-update-slice":
        # The update is read and written; the rest of the array stays where it is.
        read_bytes = sum(shape.main_bytes for shape in operands[1])
        return float(read_bytes + (operands[1][0].bytes if written_bytes else 0))
    if opcode == "scatter":
        # What is there, the update, and their combination.
        return 3.0 * sum(shape.bytes for shape in operands[-1]) if written_bytes else 0.0
    if opcode.removesuffix("-start") in _SLICES:
        sliced_bytes = sum(shape.bytes for shape in results)
        return written_bytes + (sliced_bytes if _in_main_memory(operands[0]) else 0.0)
    return written_bytes + sum(shape.main_bytes for shapes in operands for shape in shapes)


def _results(instruction: Instruction) -> tuple[Shape, ...]:
    """What an instruction makes. The result of an asynchronous start also lists its operands, which are left out."""
    if not instruction.opcode.endswith("-start"):
        return instruction.shapes
    count = len(instruction.operands)
    return instruction.shapes[:1] if instruction.opcode == "copy-start" else instruction.shapes[count : 2 * count]


def _in_main_memory(shapes: tuple[Shape, ...]) -> bool:
    """Whether any part of a value is in the main memory."""
    return any(shape.main_bytes for shape in shapes)


def _fusion_reads(module: Module, fused: Computation, index: int) -> float:
    """Bytes that a fusion reads of its operand number `index`: the slices that it takes, or all of it."""
    parameters = fused.parameters
    if index >= len(parameters):
        return 0.0
    return _reads_of(module, fused, parameters[index].name)


def _reads_of(module: Module, computation: Computation, name: str) -> float:
    """Bytes that the users of a value inside a fusion read of it."""
    all_bytes = float(sum(shape.bytes for shape in computation.instructions[name].shapes))
    total = 0.0
    if computation.instructions[name].root:
        return all_bytes
    for user in computation.users(name):
        if user.opcode in _SLICES and user.operands[0] == name:
            total += sum(shape.bytes for shape in user.shapes)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
            continue  # the part that is not updated is not touched
        elif user.opcode in _VIEWS:
            total += _reads_of(module, computation, user.name)
        elif user.opcode == "fusion":
            nested = module.computations[user.called("calls")[0]]
            total += sum(_fusion_reads(module, nested, i) for i, operand in enumerate(user.operands) if operand == name)
        else:
            return all_bytes
    return min(total, all_bytes)


def _fusion_writes(module: Module, fused: Computation) -> float:
    """Bytes that a fusion writes; of a result that is an operand with a slice put in, only the slice."""
    root = fused.root
    results = [fused.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return float(sum(_writes_of(module, fused, result) for result in results))


def _writes_of(module: Module, fused: Computation, result: Instruction) -> float:
    """Bytes that a fusion writes for one of its results."""
    maker = result
    while maker.opcode in ("bitcast", "reshape", "copy", "convert") and maker.operands:
        maker = fused.instructions[maker.operands[0]]
    if maker.opcode == "dynamic-update-slice":
        return float(fused.instructions[maker.operands[1]].shapes[0].bytes)
    if maker.opcode == "fusion":
        return _fusion_writes(module, module.computations[maker.called("calls")[0]])
    if maker.opcode == "parameter" and maker is not result:
        return 0.0  # the operand itself, passed on as it is
    return float(sum(shape.main_bytes for shape in result.shapes))
