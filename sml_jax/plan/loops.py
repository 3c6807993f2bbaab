"""How often a compiled loop runs, where that can be told from its text."""

from __future__ import annotations

import re
from typing import NamedTuple

from sml_jax.plan.hlo import Computation, Instruction, Module

_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_DIRECTION = re.compile(r"direction=(\w+)")
_INDEX = re.compile(r"\bindex=(\d+)")
_ALIKE = ("copy", "bitcast", "convert", "optimization-barrier", "reshape")


class Loop(NamedTuple):
    """Trips of a loop. Not `exact`: they are the most, and something that is computed may end it earlier."""

    trips: int
    exact: bool


def trips(module: Module, caller: Computation, loop: Instruction) -> Loop:
    """How often a `while` instruction runs its body.

    XLA may say so itself (`known_trip_count`). Else the loop must count: its condition compares a number that the body
    raises by a constant with a constant, alone (exact) or among other conditions that all must hold.

    Args:
      module: the program. caller: the computation that holds the loop.

    Raises:
      ValueError: it is no such loop.
    """
    known = _KNOWN.search(loop.rest)
    if known:
        return Loop(int(known[1]), True)
    condition = module.computations[loop.called("condition")[0]]
    body = module.computations[loop.called("body")[0]]
    needed, exact = _all_needed(module, condition, condition.root)
    for compare in needed:
        bound = _bound(condition, compare)
        if bound is not None:
            index, most = bound
            first = _first(caller, loop, index)
            return Loop(max(-(-(most - first) // _step(module, body, index)), 0), exact)
    raise ValueError(f"loop {loop.name} counts nothing that is compared with a constant")


def _all_needed(module: Module, where: Computation, root: Instruction) -> tuple[list[Instruction], bool]:
    """The comparisons that must all hold, and whether nothing else is asked."""
    if root.opcode == "fusion":
        # A fused condition: its parameters are the caller's operands, so look only at comparisons of plain constants.
        inner = module.computations[root.called("calls")[0]]
        found, exact = _all_needed(module, inner, inner.root)
        unfused = (_unfused(where, root, inner, compare) for compare in found)
        return [compare for compare in unfused if compare is not None], exact
    if root.opcode == "compare":
        return [root], True
    if root.opcode == "and":
        parts = [_all_needed(module, where, where.instructions[name]) for name in root.operands]
        return [one for found, _ in parts for one in found], False
    if root.opcode in _ALIKE:
        return _all_needed(module, where, where.instructions[root.operands[0]])
    return [], False


def _unfused(where: Computation, fusion: Instruction, inner: Computation, compare: Instruction) -> Instruction | None:
    """A comparison within a fusion, with the fusion's operands in place of its parameters.

    None where it compares something else than these and constants: something that is computed bounds no loop.
    """
    names = []
    for name in compare.operands:
        found = _through(inner, name)
        if found.opcode == "parameter":
            names.append(fusion.operands[int(found.inside)])
        elif found.opcode == "constant":
            where.instructions.setdefault(found.name, found)
            names.append(found.name)
        else:
            return None
    return Instruction(
        compare.name, "compare", compare.shapes, tuple(names), compare.inside, compare.rest, compare.root
    )


def _bound(condition: Computation, compare: Instruction) -> tuple[int, int] | None:
    """(index in the loop's state, first value that ends it), if a counter is compared with a constant."""
    direction = _DIRECTION.search(compare.rest)
    left, right = (_through(condition, name) for name in compare.operands)
    kind = direction[1] if direction else ""
    if left.opcode == "constant":
        left, right = right, left
        kind = {"GT": "LT", "GE": "LE"}.get(kind, "")
    number = _number(right)
    if left.opcode != "get-tuple-element" or number is None or kind not in ("LT", "LE", "NE"):
        return None
    return _index(left), number + (kind == "LE")


def _first(caller: Computation, loop: Instruction, index: int) -> int:
    """The counter's value before the loop; 0 where it cannot be told."""
    state = caller.instructions.get(loop.operands[0])
    if state is None or state.opcode != "tuple":
        return 0
    return _number(_through(caller, state.operands[index])) or 0


def _step(module: Module, body: Computation, index: int) -> int:
    """What the body adds to the counter; 1 where it cannot be told."""
    if body.root.opcode != "tuple":
        return 1
    new, where = _through(body, body.root.operands[index]), body
    if new.opcode == "fusion":
        where = module.computations[new.called("calls")[0]]
        new = where.root
    if new.opcode != "add":
        return 1
    numbers = [_number(_through(where, name)) for name in new.operands]
    return next((n for n in numbers if n), 1)


def _through(where: Computation, name: str) -> Instruction:
    """What a name stands for, past copies."""
    found = where.instructions[name]
    while found.opcode in _ALIKE:
        found = where.instructions[found.operands[0]]
    return found


def _number(instruction: Instruction) -> int | None:
    if instruction.opcode != "constant":
        return None
    try:
        return int(instruction.inside)
    except ValueError:
        return None


def _index(element: Instruction) -> int:
    found = _INDEX.search(element.rest)
    assert found is not None, element
    return int(found[1])
