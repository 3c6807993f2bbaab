"""Measures how readable the code base is: `python benchmarks/house.py [ROOT]`.

Prints one line for each measure: comments per 100 lines, files at the package's root, rooms and arrows of the import
graph, imports against the order of rooms, circles, file sizes, the README's length, overlong lines of prose, and the
files on the straight path from the command line to a kernel. A room is a folder of the package, or a file at its root.
It reads files only: nothing of the package is imported.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

PACKAGE = "sml_jax"
LONGEST_LINE = 120

# The files that a reader opens, in this order, to follow `sml-jax train` down to the program that the device runs. The
# recipe stands between an experiment and its stages: gin hands them over.
STRAIGHT_PATH = (
    "sml_jax/cli/main.py",
    "sml_jax/cli/train.py",
    "sml_jax/gin_config/load.py",
    "sml_jax/run/experiment.py",
    "gin/stages/online.gin",
    "sml_jax/run/stages/online.py",
    "sml_jax/dialogue/rollout.py",
    "sml_jax/dialogue/student_side.py",
    "sml_jax/engine/context_batch.py",
    "sml_jax/engine/engine.py",
    "sml_jax/engine/kernels.py",
)


def module_name(path: Path, root: Path) -> str:
    """The dotted name under which Python imports `path`, a file below `root`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for every module of the package."""
    return {module_name(path, root): path for path in sorted((root / PACKAGE).rglob("*.py"))}


def imported_names(path: Path) -> set[str]:
    """Dotted names that a file imports from the package, also inside functions: `from a.b import c` gives `a.b.c`."""
    names = set()
    # The package has no relative imports, so level 0 is all there is.
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == PACKAGE}


def containing_module(name: str, modules: Mapping[str, Path]) -> str | None:
    """The module that a dotted name is, or that holds it; None if the package has no such module."""
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name if name in modules else None


def defining_module(name: str, modules: Mapping[str, Path]) -> str | None:
    """As `containing_module`, but a name that a folder's `__init__.py` only hands on is followed to its own file."""
    module = containing_module(name, modules)
    if module is None or module == name or modules[module].name != "__init__.py":
        return module
    handed_on = [n for n in imported_names(modules[module]) if n.rpartition(".")[2] == name.rpartition(".")[2]]
    return defining_module(handed_on[0], modules) if handed_on and handed_on[0] != name else module


def room_of(module: str, modules: Mapping[str, Path]) -> str:
    """A module's folder as a dotted name; a file at the package's root is a room of its own."""
    if module.count(".") <= 1 and modules[module].name != "__init__.py":
        return module
    return module if modules[module].name == "__init__.py" else module.rpartition(".")[0]


def import_arrows(modules: Mapping[str, Path]) -> dict[tuple[str, str], set[str]]:
    """(importing room, imported room) -> the modules that import; imports within a room are left out."""
    arrows: dict[tuple[str, str], set[str]] = {}
    for module, path in modules.items():
        for name in imported_names(path):
            target = containing_module(name, modules)
            if target is not None and room_of(target, modules) != room_of(module, modules):
                arrows.setdefault((room_of(module, modules), room_of(target, modules)), set()).add(module)
    return arrows


def find_circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of rooms that import each other, directly or through others."""
    reachable: dict[str, set[str]] = {}
    for source, target in arrows:
        reachable.setdefault(source, set()).add(target)
    # Warshall's closure: the graph has a few dozen rooms.
    for middle in list(reachable):
        for targets in reachable.values():
            if middle in targets:
                targets |= reachable[middle]
    # A room that reaches itself lies in a circle, together with all rooms that it reaches and that reach it.
    in_circles = {room for room, targets in reachable.items() if room in targets}
    circles = {
        frozenset(other for other in in_circles & reachable[room] if room in reachable[other]) for room in in_circles
    }
    return sorted(sorted(circle) for circle in circles)


def room_order(root: Path) -> list[set[str]]:
    """The layers that pyproject.toml gives import-linter, the highest first; empty if it has none."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    contracts = settings.get("tool", {}).get("importlinter", {}).get("contracts", [])
    layers = next((contract["layers"] for contract in contracts if contract["type"] == "layers"), [])
    return [
        {PACKAGE + "." + name.strip(" ()").removeprefix(PACKAGE + ".") for name in re.split(r"[|:]", layer)}
        for layer in layers
    ]


def upward_imports(modules: Mapping[str, Path], order: Sequence[set[str]]) -> list[str]:
    """Imports from a higher layer. A module lies in the layer that names it, or else names its nearest folder."""

    def layer_of(module: str) -> int | None:
        while module:
            for number, layer in enumerate(order):
                if module in layer:
                    return number
            module = module.rpartition(".")[0]
        return None

    upward = []
    for module, path in modules.items():
        targets = {containing_module(name, modules) for name in imported_names(path)} - {None, PACKAGE}
        own_layer = layer_of(module)
        for target in sorted(target for target in targets if target is not None):
            layer = layer_of(target)
            # Layers are listed from the highest down.
            if own_layer is not None and layer is not None and layer < own_layer:
                upward.append(f"{module} -> {target}")
    return upward


def comments_per_100_lines(paths: Iterable[Path]) -> float:
    """Comments as Python's tokenizer counts them, a run of full-line comments one for each line."""
    comments = lines = 0
    for path in paths:
        text = path.read_text()
        lines += len(text.splitlines())
        comments += sum(t.type == tokenize.COMMENT for t in tokenize.generate_tokens(io.StringIO(text).readline))
    return 100 * comments / lines


def overlong_prose(path: Path) -> list[int]:
    """Numbers of the lines over 120 characters in a Markdown file, tables and fenced blocks left out."""
    fenced, numbers = False, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif len(line) > LONGEST_LINE and not fenced and not line.lstrip().startswith("|"):
            numbers.append(number)
    return numbers


def leads_to(file: str, following: str, root: Path, modules: Mapping[str, Path]) -> bool:
    """Whether `file` imports the module `following`, or names it in a string or, being a gin file, in its text."""
    target = module_name(root / following, root)
    text = (root / file).read_text()
    if file.endswith(".gin"):
        folder, _, name = target.rpartition(".")
        return f"from {folder} import {name}" in text.splitlines() or f"import {target}" in text.splitlines()
    strings = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    return target in strings | {defining_module(name, modules) for name in imported_names(root / file)}


def missing_steps(root: Path, modules: Mapping[str, Path], files: Sequence[str]) -> list[str]:
    """Steps of the path whose first file does not lead to the second, and files that are not there."""
    gone = [f"{file} is not there" for file in files if not (root / file).is_file()]
    steps = () if gone else pairwise(files)
    # A gin file is named by a recipe, not by Python.
    return gone + [
        f"{file} does not lead to {following}"
        for file, following in steps
        if not following.endswith(".gin") and not leads_to(file, following, root, modules)
    ]


def measures(root: Path) -> dict[str, str]:
    """Name -> value of every measure, as text."""
    modules = read_modules(root)
    arrows = import_arrows(modules)
    # The import graph.
    rooms = {room_of(module, modules) for module in modules}
    order = room_order(root)
    # Sizes and prose.
    sizes = {path: len(path.read_text().splitlines()) for path in modules.values()}
    largest = max(sizes, key=lambda path: sizes[path])
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted((root / "benchmarks").glob("*.md"))]
    overlong = {page.name: len(overlong_prose(page)) for page in pages}
    broken = missing_steps(root, modules, STRAIGHT_PATH)
    return {
        "comments per 100 lines": f"{comments_per_100_lines(modules.values()):.1f}",
        "Python files": f"{len(modules)}",
        "Python files at the package's root": f"{len(list((root / PACKAGE).glob('*.py')))}",
        "rooms": f"{len(rooms)}",
        "arrows between rooms": f"{len(arrows)}",
        "circles of rooms": "; ".join(" <-> ".join(circle) for circle in find_circles(arrows)) or "none",
        "upward imports": ("; ".join(upward_imports(modules, order)) or "none") if order else "no order is given",
        "median file, lines": f"{statistics.median(sizes.values()):.0f}",
        "largest file, lines": f"{sizes[largest]} ({largest.relative_to(root)})",
        "README, lines": f"{len(pages[0].read_text().splitlines())}",
        "overlong lines of prose": ", ".join(f"{name} {n}" for name, n in overlong.items() if n) or "none",
        "files from the command line to a kernel": f"{sum(f.endswith('.py') for f in STRAIGHT_PATH)}"
        + "".join(f"; {b}" for b in broken),
    }


def main(argv: Sequence[str]) -> int:
    root = Path(argv[0]) if argv else Path(__file__).resolve().parent.parent
    for name, value in measures(root).items():
        print(f"{name:42}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
