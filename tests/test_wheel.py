"""The wheel works by itself: without a clone, `gin/...` paths name the recipes inside the package."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import gin
import pytest

from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import default_search_paths, parse_gin

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "gin/recipes/pocket_math_online.gin"
LOAD = f"""
import sml_jax
from sml_jax.gin_config.load import load_experiment

experiment, _ = load_experiment(["{RECIPE}"], ["STEPS=3"])
print(sml_jax.__file__, [stage.steps for stage in experiment.stages])
"""


@pytest.fixture(autouse=True)
def _clear_gin():
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory) -> Path:
    """What an installation of the wheel would put into site-packages."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_the_wheel_holds_every_gin_file(unpacked_wheel):
    packed = {path.relative_to(unpacked_wheel / "sml_jax") for path in unpacked_wheel.rglob("*.gin")}
    assert packed == {path.relative_to(ROOT) for path in (ROOT / "gin").rglob("*.gin")}
    assert {path.name.split("-")[0] for path in unpacked_wheel.iterdir()} == {"sml_jax"}, "a folder beside the package"
    assert (unpacked_wheel / "sml_jax" / "py.typed").is_file()


def test_the_wheel_holds_the_page_of_the_report(unpacked_wheel):
    assets = Path("sml_jax") / "report" / "assets"
    packed = {path.name for path in (unpacked_wheel / assets).iterdir()}
    assert packed == {path.name for path in (ROOT / assets).iterdir()} >= {"page.html", "page.css", "reader.js"}


@pytest.mark.extra
def test_a_recipe_of_the_wheel_loads_in_an_empty_folder(unpacked_wheel, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked_wheel)}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(unpacked_wheel / "sml_jax" / "__init__.py"), "[3]"], done.stderr
    assert "Path not found" not in done.stderr


def test_a_clone_finds_its_recipes_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_gin([RECIPE], []) == ()


def test_a_local_file_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = tmp_path / "gin" / "stages" / "online.gin"
    local.parent.mkdir(parents=True)
    local.write_text("STEPS = %NOT_GIVEN\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"^gin/stages/online.gin:1: the macro %NOT_GIVEN has no value"):
        parse_gin([RECIPE], [])


@pytest.mark.parametrize("included", [False, True])
def test_the_error_for_a_missing_file_says_where_it_was_looked_for(included, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "gin/recipes/pocket_meth_online.gin"
    (tmp_path / "mine.gin").write_text(f"include '{name}'\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        parse_gin(["mine.gin" if included else name], [])
    message = str(caught.value)
    assert f"no gin file '{name}' in {tmp_path} or {default_search_paths()[1]}; the nearest are" in message
    assert RECIPE in message
    assert message.startswith("mine.gin:1: " if included else "--gin_file: ")
