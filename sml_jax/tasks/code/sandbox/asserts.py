"""What a failing `assert` compared, and values as short text. Part of the bare process."""

from __future__ import annotations

from typing import Any

_MAX_CHARACTERS = 200  # of one value in a report
_WORDS = {"Eq": "==", "NotEq": "!=", "Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Is": "is", "IsNot": "is not"}
_WORDS |= {"In": "in", "NotIn": "not in"}


def record_operands(tree: Any) -> list[Any]:
    """Changes every `assert` of a test so that it stores what it compares, which a failure can then show.

    `assert f(x) == y` becomes `assert (left := f(x)) == (right := y)`. Both sides are still computed once, left first.

    Args:
      tree: the syntax tree of a test; it is changed in place.

    Returns:
      A list with a tuple for each `assert`: (the statement; the name of the variable that stores the left side; the
      operator, or "true" or "false" for an assert of one value; the name of the variable that stores the right side, or
      ""; whether the left side is a literal and the right side is what the code computed).
    """
    import _ast

    def is_literal(root: Any) -> bool:
        return not any(isinstance(node, _ast.Name) for node in _nodes_in(root))

    recorded: list[Any] = []
    for node in [node for node in _nodes_in(tree) if isinstance(node, _ast.Assert)]:
        left, right = f"_left_{len(recorded)}_", f"_right_{len(recorded)}_"

        def keep(value: Any, name: str) -> Any:
            """`name := value`, in the place of the value."""
            at = _position(value)
            return _ast.NamedExpr(_ast.Name(name, _ast.Store(), **at), value, **at)

        test = node.test
        if isinstance(test, _ast.Compare) and len(test.ops) == 1:
            operator_text = _WORDS[type(test.ops[0]).__name__]
            is_swapped = is_literal(test.left) and not is_literal(test.comparators[0])
            test.left, test.comparators = keep(test.left, left), [keep(test.comparators[0], right)]
            recorded.append((node, left, operator_text, right, is_swapped))
        elif isinstance(test, _ast.UnaryOp) and isinstance(test.op, _ast.Not):
            test.operand = keep(test.operand, left)
            recorded.append((node, left, "false", "", False))
        else:
            node.test = keep(test, left)
            recorded.append((node, left, "true", "", False))
    return recorded


def _nodes_in(root: Any) -> list[Any]:
    """A syntax tree's nodes, the root first."""
    import _ast

    nodes = [root]
    for node in nodes:  # the list grows meanwhile
        for field in node._fields:
            value = getattr(node, field, None)
            children = value if isinstance(value, list) else [value]
            nodes += [child for child in children if isinstance(child, _ast.AST)]
    return nodes


def _position(node: Any) -> dict[str, Any]:
    return {key: getattr(node, key) for key in ("lineno", "col_offset", "end_lineno", "end_col_offset")}


def rename_caught(tree: Any, new_names: dict[str, str]) -> None:
    """Changes the names of errors that a test catches: in `except`, and as the first argument of `assertRaises(..)`.

    Args:
      tree: the syntax tree of the test; it is changed in place.
      new_names: the new names by the old ones; each stands for a tuple of errors.
    """
    import _ast

    def renamed(value: Any) -> Any:
        """The expression with new names; in a tuple, what stands for several errors is unpacked."""
        if isinstance(value, _ast.Tuple):
            value.elts = [
                _ast.Starred(renamed(part), _ast.Load(), **_position(part)) if is_old(part) else renamed(part)
                for part in value.elts
            ]
        elif is_old(value):
            value.id = new_names[value.id]
        return value

    def is_old(value: Any) -> bool:
        return isinstance(value, _ast.Name) and value.id in new_names

    for node in _nodes_in(tree):
        if isinstance(node, _ast.ExceptHandler):
            node.type = renamed(node.type)
        elif isinstance(node, _ast.Call) and getattr(node.func, "attr", "") in ("assertRaises", "raises", "suppress"):
            node.args[:1] = [renamed(argument) for argument in node.args[:1]]


def failed_comparison(error: BaseException, asserts: dict[str, list[Any]]) -> tuple[str, list[str]]:
    """Finds the place in a test that raised an error, and what an `assert` compared there.

    Args:
      error: what the test raised.
      asserts: the result of `record_operands` for each test, by the test's name.

    Returns:
      (place, comparison). The place is the test and its lines as text, "test 1:2-3" or "test 1:2", or "" for none. The
      comparison is [operator, expected value, actual value], all texts; [] if it was no `assert` of a test that failed.
    """
    # The innermost frame of a test, and the innermost frame of all.
    place, test_frame, trace, innermost_trace = "", None, error.__traceback__, None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file in asserts:
            place, test_frame = f"{file}:{trace.tb_lineno}", trace.tb_frame
        innermost_trace, trace = trace, trace.tb_next
    if isinstance(error, AssertionError) and innermost_trace is not None and test_frame is innermost_trace.tb_frame:
        # The instruction that failed has a position, which lies within one of the test's statements.
        line_number, _, column, _ = list(test_frame.f_code.co_positions())[innermost_trace.tb_lasti // 2]
        failed_at = (line_number or innermost_trace.tb_lineno, column or 0)
        for node, left, operator_text, right, is_swapped in asserts[test_frame.f_code.co_filename]:
            start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
            if start <= failed_at < end and left in test_frame.f_locals:
                actual, expected = test_frame.f_locals[left], test_frame.f_locals.get(right)
                if is_swapped and operator_text == "==":
                    actual, expected = expected, actual
                lines = f"{test_frame.f_code.co_filename}:{node.lineno}-{node.end_lineno}"
                return lines, [operator_text, *short_reprs(expected, actual)]
    return place, []


def short_reprs(expected: Any, actual: Any) -> list[str]:
    """[expected, actual] as short texts; if two long values begin with the same text, the place where they differ."""
    texts = [short_repr(expected), short_repr(actual)]
    if texts[0] == texts[1] and type(expected) is type(actual) and type(actual) in (str, list, tuple):
        try:
            for index, (left, right) in enumerate(zip(expected, actual)):  # noqa: B905
                if left != right:
                    return [f"{short_repr(left)} at index {index}", f"{short_repr(right)} there"]
            return [f"a length of {len(expected)}", f"{len(actual)}"]
        except BaseException:
            pass
    return texts


def short_repr(value: Any, most: int = _MAX_CHARACTERS) -> str:
    """About `most` characters, at most, of a value's `repr`; long containers are not written out. It never raises."""
    kind = type(value)
    try:
        if kind is str:
            return repr(value[:most]) + ("..." if len(value) > most else "")
        if kind is int and value.bit_length() > 4000:
            return f"an int of {value.bit_length()} bits"
        if kind in (list, tuple, set, frozenset, dict) and len(value) > most // 2:
            shown = []
            for item in value:
                text = short_repr(item, 40)
                shown.append(f"{text}: {short_repr(value[item], 40)}" if kind is dict else text)
                if sum(map(len, shown)) > most:
                    break
            return f"{kind.__name__} of {len(value)}: {', '.join(shown)[:most]}..."
        text = repr(value)
        return text[:most] + ("..." if len(text) > most else "")
    except BaseException as error:
        return f"a {kind.__name__} whose repr raises {type(error).__name__}"
