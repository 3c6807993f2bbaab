"""Bytes that an instruction reads from and writes to the main memory.

What a fusion does inside stays in registers: it reads its operands and writes its result. Where it only takes a slice
of an operand (a layer's weights from all layers'), it reads the slice; where it writes a slice into an operand in place
(the cache), it writes the slice. Operands that the compiler keeps in on-chip memory cost nothing here.
"""

from __future__ import annotations

from sml_jax.plan.hlo import Computation, Instruction, Module, Shape

# They name what is there, or wait for what was counted where it began.
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
_NO_WORK = ("AssumeGatherIndicesInBound", "Sharding", "AllocateBuffer", "SliceToDynamic")


def call_bytes(module: Module, where: Computation, instruction: Instruction) -> float:
    """Bytes of one instruction that runs by itself (not within a fusion); loops and calls are the caller's."""
    opcode = instruction.opcode
    if (
        opcode in _FREE
        or opcode.endswith("-done")
        or (opcode == "custom-call" and any(f'"{name}"' in instruction.rest for name in _NO_WORK))
    ):
        return 0.0
    operands = [where.instructions[name].shapes for name in instruction.operands]
    made = _made(instruction)
    written = float(sum(shape.main_bytes for shape in made))
    if opcode == "fusion":
        inner = module.computations[instruction.called("calls")[0]]
        read = sum(
            min(_read(module, inner, i), float(sum(shape.main_bytes for shape in shapes)))
            for i, shapes in enumerate(operands)
            if any(shape.main_bytes for shape in shapes)
        )
        return float(read + (_stored(module, inner) if written else 0.0))
    if opcode == "dynamic-update-slice":
        changed = sum(shape.main_bytes for shape in operands[1])
        return float(changed + (operands[1][0].bytes if written else 0))
    if opcode == "scatter":
        return 3.0 * sum(shape.bytes for shape in operands[-1]) if written else 0.0
    if opcode.removesuffix("-start") in _SLICES:
        taken = sum(shape.bytes for shape in made)
        return written + (taken if _in_main(operands[0]) else 0.0)
    return written + sum(shape.main_bytes for shapes in operands for shape in shapes)


def _made(instruction: Instruction) -> tuple[Shape, ...]:
    """What it makes; the result of what only begins names its operands beside that."""
    if not instruction.opcode.endswith("-start"):
        return instruction.shapes
    count = len(instruction.operands)
    return instruction.shapes[:1] if instruction.opcode == "copy-start" else instruction.shapes[count : 2 * count]


def _in_main(shapes: tuple[Shape, ...]) -> bool:
    return any(shape.main_bytes for shape in shapes)


def _read(module: Module, inner: Computation, index: int) -> float:
    """Bytes that a fusion reads of its operand: the slices that it takes, or all of it."""
    parameters = inner.parameters
    if index >= len(parameters):
        return 0.0
    return _read_of(module, inner, parameters[index].name)


def _read_of(module: Module, where: Computation, name: str) -> float:
    whole = float(sum(shape.bytes for shape in where.instructions[name].shapes))
    total = 0.0
    if where.instructions[name].root:
        return whole
    for user in where.users(name):
        if user.opcode in _SLICES and user.operands[0] == name:
            total += sum(shape.bytes for shape in user.shapes)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
            continue  # what it keeps is not touched
        elif user.opcode in _VIEWS:
            total += _read_of(module, where, user.name)
        elif user.opcode == "fusion":
            nested = module.computations[user.called("calls")[0]]
            total += sum(_read(module, nested, i) for i, operand in enumerate(user.operands) if operand == name)
        else:
            return whole
    return min(total, whole)


def _stored(module: Module, inner: Computation) -> float:
    """Bytes that a fusion writes: of a result that is an operand with a slice put in, the slice."""
    root = inner.root
    results = [inner.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return float(sum(_stored_by(module, inner, result) for result in results))


def _stored_by(module: Module, inner: Computation, result: Instruction) -> float:
    maker = result
    while maker.opcode in ("bitcast", "reshape", "copy", "convert") and maker.operands:
        maker = inner.instructions[maker.operands[0]]
    if maker.opcode == "dynamic-update-slice":
        return float(inner.instructions[maker.operands[1]].shapes[0].bytes)
    if maker.opcode == "fusion":
        return _stored(module, module.computations[maker.called("calls")[0]])
    if maker.opcode == "parameter":
        return 0.0 if maker is not result else float(sum(shape.main_bytes for shape in result.shapes))
    return float(sum(shape.main_bytes for shape in result.shapes))
