"""How often a compiled loop iterates, as far as its text tells."""

from __future__ import annotations

import re
from typing import NamedTuple

from sml_jax.plan.hlo import Computation, Instruction, Module

_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_DIRECTION = re.compile(r"direction=(\w+)")
_INDEX = re.compile(r"\bindex=(\d+)")
_SAME_VALUE = ("copy", "bitcast", "convert", "optimization-barrier", "reshape")


class Trips(NamedTuple):
    """How often a loop's body runs.

    Attributes:
      most: the largest possible number of iterations.
      exact: whether it is always that number; if not, something that the loop computes may end it earlier.
    """

    most: int
    exact: bool


def trip_count(module: Module, caller: Computation, loop: Instruction) -> Trips:
    """The number of times that a `while` instruction runs its body.

    XLA may write it down (`known_trip_count`). Otherwise the loop must have a counter: its condition compares a number,
    to which the body adds a constant, with another constant. If the condition is that comparison alone, the number is
    exact. If other conditions must hold too, it is the largest possible number.

    Args:
      module: the compiled module.
      caller: the computation that holds the loop.
      loop: the `while` instruction.

    Raises:
      ValueError: the loop has no such counter.
    """
    known_count = _KNOWN.search(loop.rest)
    if known_count:
        return Trips(int(known_count[1]), True)
    # Otherwise any comparison of a counter with a constant bounds the loop, as long as it must hold in every iteration.
    condition = module.computations[loop.called("condition")[0]]
    body = module.computations[loop.called("body")[0]]
    comparisons, exact = _required_comparisons(module, condition, condition.root)
    for compare in comparisons:
        bound = _counter_bound(condition, compare)
        if bound is not None:
            index, end_value = bound
            start_value, step = _initial_value(caller, loop, index), _increment(module, body, index)
            return Trips(max(-(-(end_value - start_value) // step), 0), exact)
    raise ValueError(f"loop {loop.name} counts nothing that is compared with a constant")


def _required_comparisons(
    module: Module, computation: Computation, root: Instruction
) -> tuple[list[Instruction], bool]:
    """The comparisons that must all hold for `root` to be true, and whether `root` is one comparison alone."""
    if root.opcode == "fusion":
        # The condition was fused: its comparisons are of the fusion's parameters, which are the operands here.
        fused = module.computations[root.called("calls")[0]]
        comparisons, exact = _required_comparisons(module, fused, fused.root)
        unfused = (_unfuse(computation, root, fused, compare) for compare in comparisons)
        return [compare for compare in unfused if compare is not None], exact
    if root.opcode == "compare":
        return [root], True
    # Both operands of an "and" must hold, so either of them bounds the loop; neither alone tells when it ends.
    if root.opcode == "and":
        operand_comparisons = [
            _required_comparisons(module, computation, computation.instructions[name]) for name in root.operands
        ]
        return [compare for comparisons, _ in operand_comparisons for compare in comparisons], False
    if root.opcode in _SAME_VALUE:
        return _required_comparisons(module, computation, computation.instructions[root.operands[0]])
    return [], False


def _unfuse(
    computation: Computation, fusion: Instruction, fused: Computation, compare: Instruction
) -> Instruction | None:
    """A comparison inside a fusion, rewritten with the fusion's operands in place of its parameters.

    None if it compares anything but these and constants: what a fusion computes is no loop counter.
    """
    names = []
    for name in compare.operands:
        operand = _origin(fused, name)
        if operand.opcode == "parameter":
            names.append(fusion.operands[int(operand.inside)])
        elif operand.opcode == "constant":
            # The caller's computation must know the constant, so that it can be looked up there.
            computation.instructions.setdefault(operand.name, operand)
            names.append(operand.name)
        else:
            return None
    return Instruction(
        compare.name, "compare", compare.shapes, tuple(names), compare.inside, compare.rest, compare.root
    )


def _counter_bound(condition: Computation, compare: Instruction) -> tuple[int, int] | None:
    """The counter's index in the loop's state and the first value that ends the loop.

    None if the comparison is not of an element of the state with a constant.
    """
    match = _DIRECTION.search(compare.rest)
    direction = match[1] if match else ""
    left, right = (_origin(condition, name) for name in compare.operands)
    if left.opcode == "constant":  # 10 > i is i < 10
        left, right = right, left
        direction = {"GT": "LT", "GE": "LE"}.get(direction, "")
    limit = _constant_value(right)
    if left.opcode != "get-tuple-element" or limit is None or direction not in ("LT", "LE", "NE"):
        return None
    return _tuple_index(left), limit + (direction == "LE")


def _initial_value(caller: Computation, loop: Instruction, index: int) -> int:
    """The counter's value before the loop; 0 if it is no constant."""
    state = caller.instructions.get(loop.operands[0])
    if state is None or state.opcode != "tuple":
        return 0
    return _constant_value(_origin(caller, state.operands[index])) or 0


def _increment(module: Module, body: Computation, index: int) -> int:
    """What the body adds to the counter; 1 if it is no constant."""
    if body.root.opcode != "tuple":
        return 1
    # The counter's new value is an element of the tuple that the body returns: the old one plus a constant.
    new_value, computation = _origin(body, body.root.operands[index]), body
    if new_value.opcode == "fusion":
        computation = module.computations[new_value.called("calls")[0]]
        new_value = computation.root
    if new_value.opcode != "add":
        return 1
    addends = [_constant_value(_origin(computation, name)) for name in new_value.operands]
    return next((n for n in addends if n), 1)


def _origin(computation: Computation, name: str) -> Instruction:
    """The instruction that a name's value comes from, past copies and conversions."""
    instruction = computation.instructions[name]
    while instruction.opcode in _SAME_VALUE:
        instruction = computation.instructions[instruction.operands[0]]
    return instruction


def _constant_value(instruction: Instruction) -> int | None:
    """The value of an integer constant; None for anything else."""
    if instruction.opcode != "constant":
        return None
    try:
        return int(instruction.inside)
    except ValueError:
        return None


def _tuple_index(element: Instruction) -> int:
    """Which element of a tuple a `get-tuple-element` takes."""
    match = _INDEX.search(element.rest)
    assert match is not None, element
    return int(match[1])
