"""Finds the program in what a student says: a fenced block, a bare program, or the rest of a function begun for it."""

from __future__ import annotations

import ast
import re
import textwrap
import threading
import warnings
from dataclasses import dataclass

# No two neighbours in these may match the same text: a long run of it would be divided in every way there is.
_FENCE = re.compile(r"^[ \t]*+(?P<mark>`{3,}|~{3,})[ \t]*+(?P<label>[^`\n]*+)$")
_INLINE = re.compile(r"^[ \t]*+```[ \t]*+(?:(?:python|py)3?[ \t]++)?(?P<code>[^`]++)```[ \t]*$")
_LABELS = {"", "py", "py3", "ipython", "code", "solution"}
# Bounds on the work that one utterance can make.
_MAX_CHARACTERS = 100_000  # a longer utterance is cut
_MAX_BLOCKS = 64  # of an utterance, the last ones
_MAX_ATTEMPTS = 8  # at finding where a bare program starts, and where it ends
_MAX_CLOSINGS = 4  # places where one block may end
_MAX_PARSED = 400_000  # characters parsed in all while a bare program is searched for
# Lines that start a program, and lines that may go on with one.
_START = re.compile(
    r"(?:async[ \t]+def|def|class)[ \t]+\w+[ \t]*[(:\[]|from[ \t]+[\w.]+[ \t]+import\b|import[ \t]+\w|@\w"
)
_GOES_ON = re.compile(
    r"\s|$|[#)\]}@]|(?:async|def|class|import|from|if|elif|else|for|while|with|try|except|finally)\b"
    r"|[\w.\[\]]+\s*[-+*/]?=|\w+\("
)
_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+def|def|class)\b", re.MULTILINE)
_warnings_lock = threading.Lock()  # filters of warnings belong to the whole process


@dataclass(frozen=True)
class _Block:
    text: str
    python: bool  # labelled as Python
    tree: ast.Module | None  # None where it does not parse


def extract_code(utterance: str, entry: str = "", prefix: str = "") -> str | None:
    """Finds the program in a student's turn.

    Of several fenced blocks it takes the last that defines `entry`. Without `entry` it takes the last that defines a
    function or a class, or a later one that runs without the earlier ones (a block that uses what an earlier one
    defines does not). Blocks labelled with another language, and blocks that are not programs (an expected output), are
    ignored. If there is no such block, the last fenced block that is meant as Python but does not parse is returned,
    since it was an attempt. Without fences the text itself must be a program; words before and after a definition (of
    `entry`, if given) are dropped.

    Args:
      utterance: the turn; any text.
      entry: name of the function that the problem asks for; "" if unknown.
      prefix: for problems that ask to complete a program, its start. An answer that defines `entry` is put after the
        prefix. An answer that is only the inside of a function becomes the body of the prefix's last function.

    Returns:
      The program, with `prefix` at its start; None if the turn has no program.
    """
    text = utterance[:_MAX_CHARACTERS].replace("\r\n", "\n")
    blocks = _blocks(text)
    if not blocks:
        return _bare(text, entry, prefix)
    best = _choose(blocks, entry, prefix)
    if best is None:
        return None
    return _joined(best.text, entry, prefix)


def parse_python(text: str) -> ast.Module | None:
    """The syntax tree of a Python program; None for a text that does not parse. It never raises or warns."""
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _joined(code: str, entry: str, prefix: str) -> str:
    """The program with its prefix: `code` after `prefix`, or as the body of its last function."""
    if not prefix:
        return code
    # A prefix that ends in a bare `def` line needs a body before anything may follow.
    complete_prefix = prefix.rstrip() if parse_python(prefix) is not None else f"{prefix.rstrip()}\n    pass"
    after_prefix = f"{complete_prefix}\n\n\n{code}"
    tree = parse_python(code)
    if tree is not None and not _is_body(tree) and (_defines(tree, entry) if entry else _any_definition(tree)):
        return after_prefix
    return _continued(code, prefix) or after_prefix


def _continued(code: str, prefix: str) -> str | None:
    """The prefix with the code as the body of its last function, however the code is indented."""
    body = code.strip("\n")
    opening = prefix if prefix.endswith("\n") else prefix + "\n"
    if body[:1].isspace():
        indented_bodies = [body, textwrap.indent(textwrap.dedent(body), "    ")]
    else:
        # White space before the first line alone may have been stripped.
        indented_bodies = [textwrap.indent(body, "    "), "    " + body]
    for indented_body in indented_bodies:
        program = opening + indented_body + "\n"
        if parse_python(program) is not None:
            return program
    return None


def _blocks(text: str) -> list[_Block]:
    """The last fenced blocks that may hold Python, in order.

    A fence that leaves a block unparsed may be part of it (in a docstring), so the block then ends at a later one if it
    parses there.
    """
    lines, blocks, line_index = text.split("\n"), list[_Block](), 0
    while line_index < len(lines):
        inline, fence = _INLINE.match(lines[line_index]), _FENCE.match(lines[line_index])
        if inline:
            blocks.append(_Block(inline["code"].strip(), True, parse_python(inline["code"].strip())))
        if not fence:
            line_index += 1
            continue
        # The language: "python3", "{.py}", "Python, fixed" and no label at all are ours.
        label = re.split(r"[\s,:]", fence["label"].strip().strip("{}.").lower())[0].strip("{}.")
        is_python = label in _LABELS or label.startswith("python")
        # The block ends at the first fence, or at the first later one where it parses.
        closings = _closings(lines, line_index + 1, fence["mark"])
        block, end = None, len(lines)
        for number, (close, last_line) in enumerate(closings):
            body = [*lines[line_index + 1 : close], *([last_line] if last_line else [])]
            content = textwrap.dedent("\n".join(body)) if is_python else ""
            tree = parse_python(content)
            if number == 0 or (tree is not None and block is not None and block.tree is None):
                block, end = _Block(content, label not in ("", "code", "solution"), tree), close
            if block is not None and block.tree is not None:
                break
        if block is not None and is_python and block.text.strip():
            blocks.append(block)
        line_index = end + 1
    return blocks[-_MAX_BLOCKS:]


def _closings(lines: list[str], at: int, mark: str) -> list[tuple[int, str]]:
    """The places where a block may end: (index of the line, text before the fence on it); or else the last line."""
    ends: list[tuple[int, str]] = []
    for number in range(at, len(lines)):
        line = lines[number].rstrip()
        if line.endswith(mark) and not line.strip().strip(mark[0]):
            ends.append((number, ""))
        elif line.endswith(mark) and mark[0] not in line[: -len(mark)]:
            ends.append((number, line[: -len(mark)]))
        if len(ends) == _MAX_CLOSINGS:
            break
    return ends or [(len(lines), "")]


def _choose(blocks: list[_Block], entry: str, prefix: str) -> _Block | None:
    """The block that is the answer, see `extract_code`; None where none is a program."""
    programs = [block for block in blocks if block.tree is not None and _is_program(block.tree)]
    # The last that defines what is asked for, or continues the prefix.
    if entry:
        for block in reversed(programs):
            if block.tree is not None and _defines(block.tree, entry):
                return block
    if prefix:
        for block in reversed(blocks):
            if (block.tree is None or _is_body(block.tree)) and _continued(block.text, prefix):
                return block
    # Else the last that defines something, or does not need an earlier block's definitions.
    for index in range(len(programs) - 1, -1, -1):
        tree = programs[index].tree
        known_names = {
            name for block in programs[:index] if block.tree is not None for name in _names_defined(block.tree)
        }
        if tree is None or (entry and not _any_definition(tree)):
            continue
        if _any_definition(tree) or not _names_used(tree) & (known_names - _names_defined(tree)):
            return programs[index]
    # Else the last that is meant as Python and does not parse.
    unparsed = [
        block for block in blocks if block.tree is None and (block.python or _DEFINITION.search(block.text) is not None)
    ]
    return unparsed[-1] if unparsed else None


def _bare(text: str, entry: str, prefix: str) -> str | None:
    """A program without fences."""
    tree = parse_python(text)
    if tree is not None and not _is_body(tree) and _is_program(tree, bare=True):
        return _joined(text, entry, prefix)
    # The inside of the function that the prefix begins; a single line alone is none, or "Yes" would be one.
    indented = text[:1].isspace() or (tree is None and re.match(r"\S.*\n\s*[ \t]\S", text) is not None)
    if prefix and (indented or (tree is not None and _is_body(tree))):
        program = _continued(text, prefix)
        if program is not None:
            return program
    # A program with words around it.
    starts_like_code = _START.match(text.lstrip()) is not None
    if entry or starts_like_code:
        program = _inside(text, entry)
        if program is not None:
            return _joined(program, entry, prefix)
    return _joined(text, entry, prefix) if starts_like_code and tree is None else None


def _inside(text: str, entry: str) -> str | None:
    """The lines of a text, from one that starts a definition or an import, that parse and define what is asked for."""
    lines = text.split("\n")
    starts = [at for at, line in enumerate(lines) if _START.match(line)]
    parsed = 0
    for start in starts[:_MAX_ATTEMPTS]:
        # As many lines as may belong to it, then one less at a time until it parses.
        end = start + 1
        while end < len(lines) and _GOES_ON.match(lines[end]):
            end += 1
        for last in range(end, max(start, end - _MAX_ATTEMPTS), -1):
            program = "\n".join(lines[start:last])
            parsed += len(program)
            if parsed > _MAX_PARSED:
                return None
            tree = parse_python(program)
            if tree is not None and (_defines(tree, entry) if entry else _any_definition(tree)):
                return program
    return None


# Statements that no plain words look like.
_STATEMENTS = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom),
    *(ast.For, ast.While, ast.If, ast.With, ast.Try, ast.Match),
)


def _is_program(tree: ast.Module, bare: bool = False) -> bool:
    """It does something: more than names, numbers and strings, which words and outputs may look like.

    Args:
      tree: what is judged.
      bare: it was not fenced, so an assignment ("x = 5") and a call ("help(me)") may be plain words too.
    """
    for node in tree.body:
        does_something = isinstance(node, _STATEMENTS)
        value = getattr(node, "value", None)
        if isinstance(node, ast.Expr) and isinstance(value, ast.Call):
            does_something = not bare or (isinstance(value.func, ast.Name) and value.func.id == "print")
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and value is not None:
            does_something = not bare or isinstance(value, ast.Lambda)
        if does_something:
            return True
    return False


def _is_body(tree: ast.Module) -> bool:
    """It returns or yields outside a function, so it is the inside of one."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            pending += ast.iter_child_nodes(node)
    return False


def _any_definition(tree: ast.Module) -> bool:
    return any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in tree.body)


def _defines(tree: ast.Module, entry: str) -> bool:
    """It defines `entry`, at the top or as a method of `class Solution`."""
    if entry in _names_defined(tree):
        return True
    return any(
        isinstance(node, ast.ClassDef)
        and node.name == "Solution"
        and any(isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and item.name == entry for item in node.body)
        for node in tree.body
    )


def _names_defined(tree: ast.Module) -> set[str]:
    """Names of functions and classes at the top, and of variables and imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node in tree.body:
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def _names_used(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
