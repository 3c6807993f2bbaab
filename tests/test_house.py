"""The measures of the code base, on a package of a few files, and the ones that this repository must keep."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import house  # noqa: E402

del sys.path[0]

FILES = {
    "sml_jax/__init__.py": "",
    "sml_jax/errors.py": "# One.\nLIMIT = 1  # two\n",
    "sml_jax/low/__init__.py": "from sml_jax.low.kernel import run\n",
    "sml_jax/low/kernel.py": "from sml_jax.errors import LIMIT\n\n\ndef run():\n    from sml_jax.high import stage\n",
    "sml_jax/high/__init__.py": "",
    "sml_jax/high/stage.py": "from sml_jax.low import run\n\nPROGRAM = 'sml_jax.high.other'\n",
    "sml_jax/high/other.py": "import sml_jax.low.kernel\n",
    "pyproject.toml": "[[tool.importlinter.contracts]]\ntype = 'layers'\nlayers = ['sml_jax.high', 'low', 'errors']\n",
    "recipe.gin": "from sml_jax.high import stage\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_arrows_lead_from_room_to_room_also_from_within_functions(root):
    arrows = house.import_arrows(house.read_modules(root))
    assert arrows == {
        ("sml_jax.low", "sml_jax.errors"): {"sml_jax.low.kernel"},
        ("sml_jax.low", "sml_jax.high"): {"sml_jax.low.kernel"},
        ("sml_jax.high", "sml_jax.low"): {"sml_jax.high.stage", "sml_jax.high.other"},
    }
    assert house.find_circles(arrows) == [["sml_jax.high", "sml_jax.low"]]


def test_an_import_from_a_higher_layer_is_upward(root):
    upward = house.upward_imports(house.read_modules(root), house.room_order(root))
    assert upward == ["sml_jax.low.kernel -> sml_jax.high.stage"]


def test_comments_are_counted_by_line(root):
    assert house.comments_per_100_lines([root / "sml_jax/errors.py"]) == 100


@pytest.mark.parametrize(
    ("steps", "missing"),
    [
        # Through a folder's __init__.py, by a name in a string, and from a gin file.
        (("sml_jax/high/stage.py", "sml_jax/low/kernel.py", "sml_jax/errors.py"), []),
        (("sml_jax/high/stage.py", "sml_jax/high/other.py"), []),
        (("recipe.gin", "sml_jax/high/stage.py"), []),
        (
            ("sml_jax/high/other.py", "sml_jax/errors.py"),
            ["sml_jax/high/other.py does not lead to sml_jax/errors.py"],
        ),
        (("sml_jax/gone.py",), ["sml_jax/gone.py is not there"]),
    ],
)
def test_each_file_of_a_path_leads_to_the_next(root, steps, missing):
    assert house.missing_steps(root, house.read_modules(root), steps) == missing


def test_overlong_lines_are_those_of_prose(tmp_path):
    page = tmp_path / "page.md"
    long = "x" * 121
    page.write_text(f"{long}\n| {long} |\n```\n{long}\n```\n{long}\n")
    assert house.overlong_prose(page) == [1, 6]


@pytest.mark.extra
def test_the_repository_keeps_its_own_measures():
    modules = house.read_modules(ROOT)
    assert house.missing_steps(ROOT, modules, house.STRAIGHT_PATH) == []
    assert house.upward_imports(modules, house.room_order(ROOT)) == []
    assert house.measures(ROOT)["overlong lines of prose"] == "none"
