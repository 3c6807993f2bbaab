"""What the README and the pages in docs/ name is there: files, tests, modules, settings, links and their anchors."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from sml_jax.gin_config.renamed import GONE, RENAMED

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "RESULTS.md"]
# Files of other projects, or that stand for any file.
FOREIGN = {"file.py", "gin/recipes/X.gin"}
# Fields of data sets that are called like tests.
FIELDS = {"test_list", "test_setup_code", "test_cases"}


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)


def code_spans(page: Path) -> list[str]:
    return re.findall(r"`([^`]+)`", prose(page))


def expand_braces(path: str) -> list[str]:
    """`a_{b,c}.gin` as `a_b.gin` and `a_c.gin`."""
    options = re.search(r"{([^}]*)}", path)
    if options is None:
        return [path]
    return [one for choice in options[1].split(",") for one in expand_braces(path.replace(options[0], choice, 1))]


@cache
def repository_files() -> frozenset[str]:
    skipped = {".git", ".venv", "__pycache__"}
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return frozenset(path.as_posix() for path in files if not skipped & set(path.parts))


def exists(path: str) -> bool:
    """Whether a path from the root or from tests/ is there or, for a bare name, a file of that name anywhere."""
    files = repository_files()
    if "/" not in path:
        return any(file == path or file.endswith("/" + path) for file in files)
    return path in files or f"tests/{path}" in files


@cache
def classes() -> dict[str, set[str]]:
    """Class -> names of its fields, methods, properties and constructor's parameters, its bases' included."""
    own: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    for file in (ROOT / "sml_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            names = own.setdefault(node.name, set())
            bases.setdefault(node.name, []).extend(base.id for base in node.bases if isinstance(base, ast.Name))
            for member in ast.walk(node):
                if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    names.add(member.target.id)
                elif isinstance(member, ast.FunctionDef):
                    names.add(member.name)
                    names |= {argument.arg for argument in [*member.args.args, *member.args.kwonlyargs]}
                elif isinstance(member, ast.Attribute) and isinstance(member.ctx, ast.Store):
                    names.add(member.attr)
    return {name: own[name].union(*(own.get(base, set()) for base in bases[name])) for name in own}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page):
    spans = re.findall(
        r"[\w./{},-]+\.(?:py|gin|sh|cc|h|md)\b", " ".join(re.findall(r"`[^`]+`|```.*?```", page.read_text()))
    )
    paths = [path for span in spans for path in expand_braces(span)]
    named = {path.removeprefix("./") for path in paths if not re.search(r"[A-Z]{2}", Path(path).stem)}
    # Examples begin with a comment that says their name.
    examples = set(re.findall(r"^```\w+\n# (\S+)$", page.read_text(), re.M))
    missing = named - FOREIGN - examples - {Path(example).name for example in examples}
    assert sorted(path for path in missing if not path.startswith("/") and not exists(path)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tests_that_a_page_names_exist(page):
    named = {name for span in code_spans(page) for name in re.findall(r"\btest_\w+\b(?!\.py)", span)} - FIELDS
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(name for name in named if f"def {name}(" not in text and f"/{name}" not in text) == []
    for file, name in re.findall(r"([\w/]+\.py)::(\w+)", page.read_text()):
        path = ROOT / file if (ROOT / file).is_file() else ROOT / "tests" / file
        assert f"def {name}(" in path.read_text(), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_dotted_names_of_a_page_exist(page):
    for name in set(re.findall(r"\bsml_jax(?:\.\w+)+", page.read_text())):
        if name.endswith((".py", ".egg")):
            continue
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[length:]:
            assert hasattr(found, part), name
            found = getattr(found, part)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_that_a_page_names_exist(page):
    for name, member in re.findall(r"\b([A-Z]\w+)\.([a-z]\w*)\b", page.read_text()):
        assert f"{name}.{member}" not in {**RENAMED, **GONE}, f"{name}.{member} is an old name"
        if name in classes():
            assert member in classes()[name], f"{name}.{member}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_macros_that_a_page_sets_are_read_by_a_gin_file(page):
    recipes = "\n".join(path.read_text() for path in (ROOT / "gin").rglob("*.gin"))
    for macro in re.findall(r"--gin\.([A-Z][A-Z_0-9]*)=", page.read_text()):
        assert macro == "NAME" or f"%{macro}" in recipes, macro


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_imports_of_a_page_exist(page):
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.S | re.M):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sml_jax"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    found = hasattr(module, alias.name) or importlib.util.find_spec(submodule)
                    # The page on extending adds one family of its own.
                    assert found or submodule == "sml_jax.families.gemma", submodule


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_lines_of_prose_end_within_120_characters(page):
    lines = prose(page).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_every_page_asks_one_question():
    for page in sorted((ROOT / "docs").glob("*.md")):
        title = page.read_text().splitlines()[0]
        assert title.startswith("# ") and title.endswith("?"), f"{page.name}: {title}"


def test_the_readme_is_read_in_one_sitting():
    assert len(PAGES[0].read_text().splitlines()) <= 150
