"""Every gin name that was renamed or removed is an error that says what to write instead."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import gin
import pytest

from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import parse_gin
from sml_jax.gin_config.renamed import GONE, OBJECTS, RENAMED

ROOT = Path(__file__).resolve().parents[1]
HEAD = "from __gin__ import dynamic_registration\n"
OLD_NAMES = {**RENAMED, **GONE}
GIN_TEXTS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "gin").rglob("*.gin"))]


def kind(name: str) -> str:
    if name.startswith("sml_jax."):
        return "module"
    if "." in name:
        return "parameter"
    return "macro" if name.isupper() else "configurable"


def of_kind(wanted: str, table: dict[str, str] = RENAMED) -> list[str]:
    return [name for name in table if kind(name) == wanted]


@pytest.fixture(scope="module")
def modules() -> dict[str, object]:
    """The modules that the shipped gin files import, and the new ones in the table, by full name."""
    imports = re.findall(r"^from (sml_jax[\w.]*) import (\w+)", "\n".join(GIN_TEXTS), re.M)
    names = {f"{parent}.{leaf}" for parent, leaf in imports} | {RENAMED[name] for name in of_kind("module")}
    return {name: importlib.import_module(name) for name in sorted(names)}


@pytest.fixture(scope="module")
def configurables(modules) -> dict[str, tuple[str, object]]:
    """By the name of a class or function: the module that defines it, and the thing."""
    return {
        name: (full, thing)
        for full, module in modules.items()
        for name, thing in vars(module).items()
        if callable(thing) and getattr(thing, "__module__", None) == full
    }


@pytest.fixture(autouse=True)
def _clear_gin():
    yield
    gin.clear_config()


def error_for(tmp_path: Path, text: str, *bindings: str) -> str:
    (tmp_path / "mine.gin").write_text(HEAD + text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        parse_gin([str(tmp_path / "mine.gin")], bindings)
    return str(caught.value)


def check(message: str, old: str, written: str | None = None) -> None:
    written = written or old
    expected = f"is now called {RENAMED[old]}" if old in RENAMED else f"is gone: {GONE[old]}"
    assert f"{written} {expected}" in message


def test_no_name_is_in_both_tables():
    assert not set(RENAMED) & set(GONE)


@pytest.mark.parametrize("old", of_kind("module"))
def test_renamed_modules(old, tmp_path):
    importlib.import_module(RENAMED[old])
    parent, _, leaf = old.rpartition(".")
    check(error_for(tmp_path, f"from {parent} import {leaf}\n"), old)
    # A binding that still writes the old module's last part; one that kept its last part cannot be told from the new.
    if leaf != RENAMED[old].rpartition(".")[2]:
        check(error_for(tmp_path, f"{leaf}.SomeClass.parameter = 1\n"), old)


def moved(old: str) -> bool:
    """Whether a class kept its name and went to another module."""
    return RENAMED[old].rpartition(".")[2] == old


@pytest.mark.parametrize("old", filter(moved, of_kind("configurable")))
def test_moved_classes(old, tmp_path, modules, configurables):
    module, _, name = RENAMED[old].rpartition(".")
    full, _ = configurables[name]
    assert full.rpartition(".")[2] == module
    line = f"some_module.{old}.parameter = 1\n"
    check(error_for(tmp_path, f"from {full.rpartition('.')[0]} import {module}\n{line}"), old, f"some_module.{old}")
    # The right module, not imported, is no old name.
    assert "called" not in error_for(tmp_path, f"{module}.{old}.parameter = 1\n")


@pytest.mark.parametrize("old", [name for name in of_kind("configurable") if not moved(name)])
def test_renamed_classes(old, tmp_path, modules, configurables):
    module, _, name = RENAMED[old].rpartition(".")
    full, thing = configurables[name]
    assert full.rpartition(".")[2] == module and callable(thing)
    moved = name == old  # under its own name, so that only its module is old
    assert moved or old not in configurables
    parent = full.rpartition(".")[0]
    for line in (f"{module}.{old}.parameter = 1\n",) * (not moved) + (f"some_module.{old}.parameter = 1\n",):
        written = line.rpartition(".")[0]
        check(error_for(tmp_path, f"from {parent} import {module}\n{line}"), old, written)
    head = f"from {parent} import {module}\nTHING = @{module}.{name}\n"
    if not moved:
        check(error_for(tmp_path, head, f"{old}.parameter=1"), old)


@pytest.mark.parametrize("old", of_kind("parameter"))
def test_renamed_parameters(old, tmp_path, configurables):
    owner, _, old_parameter = old.rpartition(".")
    new_owner, _, new_parameter = RENAMED[old].rpartition(".")
    assert new_parameter in inspect.signature(configurables[new_owner.rpartition(".")[2]][1]).parameters
    full, thing = configurables[owner]
    assert old_parameter not in inspect.signature(thing).parameters
    parent, _, module = full.rpartition(".")
    head = f"from {parent} import {module}\n"
    check(error_for(tmp_path, f"{head}{module}.{old} = 1\n"), old)
    check(error_for(tmp_path, f"{head}THING = @{module}.{owner}\n", f"{old}=1"), old)


@pytest.mark.parametrize("old", of_kind("macro"))
def test_renamed_macros(old):
    assert any(re.search(rf"^{RENAMED[old]} =", text, re.M) for text in GIN_TEXTS)


@pytest.mark.parametrize("old", [*of_kind("macro"), *of_kind("macro", GONE)])
def test_old_macros(old, tmp_path):
    assert not any(re.search(rf"(^|%){old}\b", text, re.M) for text in GIN_TEXTS)
    check(error_for(tmp_path, f"{old} = 1\n"), old)
    check(error_for(tmp_path, f"OTHER = %{old}\n"), old)
    check(error_for(tmp_path, "OTHER = 1\n", f"{old}=1"), old)


@pytest.mark.parametrize("old", [name for name in GONE if kind(name) != "macro"])
def test_names_that_are_gone(old, tmp_path, configurables):
    match kind(old):
        case "module":
            parent, _, leaf = old.rpartition(".")
            check(error_for(tmp_path, f"from {parent} import {leaf}\n"), old)
        case "configurable":
            assert old not in configurables
            check(error_for(tmp_path, f"some_module.{old}.parameter = 1\n"), old, f"some_module.{old}")
        case "parameter":
            owner, _, parameter = old.rpartition(".")
            full, thing = configurables[owner]
            assert parameter not in inspect.signature(thing).parameters
            parent, _, module = full.rpartition(".")
            check(error_for(tmp_path, f"from {parent} import {module}\n{module}.{old} = 1\n"), old)


@pytest.mark.parametrize("old", of_kind("module", OLD_NAMES))
def test_old_modules_are_not_there(old):
    with contextlib.suppress(ModuleNotFoundError):  # raised where the package that held it is gone as well
        assert importlib.util.find_spec(old) is None


@pytest.mark.parametrize("parameter", OBJECTS)
def test_a_string_in_place_of_an_object_is_told_what_to_write(parameter, tmp_path, configurables):
    owner, _, name = parameter.rpartition(".")
    full, thing = configurables[owner]
    assert name in inspect.signature(thing).parameters
    parent, _, module = full.rpartition(".")
    assert OBJECTS[parameter] in error_for(tmp_path, f"from {parent} import {module}\n{module}.{parameter} = 'retry'\n")
