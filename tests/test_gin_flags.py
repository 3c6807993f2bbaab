import contextlib
import sys

import gin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.cli.main import run_program
from sml_jax.common.errors import UserError
from sml_jax.common.suggest import nearest
from sml_jax.gin_config.load import configured, parse_gin
from sml_jax.gin_config.overrides import quoted, split_gin_flags
from sml_jax.gin_config.reader import parse_literal

ONLINE = """
import dataclasses

@dataclasses.dataclass(frozen=True)
class Online:
    steps: int
    lr: float = 1e-3
    path: str = ""
    teacher: object = None

class Teacher:
    def __init__(self, hints=1):
        self.hints = hints

class Other(Teacher):
    pass

def run(stages=(), title=""):
    return stages, title
"""

RECIPE = """
from __gin__ import dynamic_registration
from ginpkg import online

STEPS = 100
online.run.stages = [@online.Online()]
online.Online.steps = %STEPS
online.Online.teacher = @online.Teacher()
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A package of configurables, freshly imported, and a folder of recipes; returns a function that parses."""
    package = tmp_path / "ginpkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "online.py").write_text(ONLINE)
    (package / "broken.py").write_text("import a_module_that_is_not_there\n")
    (package / "faulty.py").write_text("1 / 0\n")
    recipes = tmp_path / "gin" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "toy_online.gin").write_text(RECIPE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def parse(*bindings, text=None, file="gin/recipes/toy_online.gin"):
        if text is not None:
            (tmp_path / file).write_text(text)
        parse_gin([file], bindings, [str(tmp_path)])
        return configured(sys.modules["ginpkg.online"].run)()

    # Other tests of the same process registered the package's own things, which have names like these.
    mine = type(gin.config._REGISTRY)()
    for name, thing in gin.config._REGISTRY.items():
        if not name.startswith("sml_jax."):
            mine[name] = thing
    monkeypatch.setattr(gin.config, "_REGISTRY", mine)
    with gin.config.interactive_mode():  # each test registers its own copy under the same names
        yield parse
    gin.clear_config()
    for name in [name for name in sys.modules if name.split(".")[0] == "ginpkg"]:
        del sys.modules[name]


def fails(world, *bindings, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        world(*bindings, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_split():
    argv = ["--gin_file=a.gin", "--workdir=/w", "--gin.X=1", "--gin_file=b.gin", "--gin.s/m.T.p=a=b", "--v"]
    assert split_gin_flags(argv) == (("a.gin", "b.gin"), ("X=1", "s/m.T.p=a=b"), ("--workdir=/w", "--v"))


@pytest.mark.parametrize("flag", ["--gin_file", "--gin_file=", "--gin.X", "--gin.X=", "--gin.=3", "--gin.a b=3"])
def test_split_names_the_malformed_flag(flag):
    with pytest.raises(UserError, match="write"):
        split_gin_flags([flag, "5"])


@given(st.lists(st.text(st.characters(codec="ascii"), min_size=1).filter(lambda a: not a.startswith("--gin"))))
def test_split_leaves_other_arguments_alone(argv):
    assert split_gin_flags(argv).rest == tuple(argv)


@pytest.mark.parametrize("value", ["5", "-1e-4", "'a b'", "[1, 2]", "{'a': (1,)}", "True", "None", "@a.B()", "%M"])
def test_quoted_leaves_gin_values_alone(value):
    assert quoted(value) == value


@pytest.mark.parametrize("value", ["/a/b", "adamw", "a b", "2026-01-01", "it's", "1 2", "v5e:4x4", "x\ny = 3", "3\n4"])
def test_quoted_takes_other_text_for_a_string(value):
    assert parse_literal(quoted(value)) == value


@pytest.mark.parametrize("value", ["[1, 2", "'abc", "@", "{1: ", "(3", "true", "null"])
def test_quoted_refuses_what_was_meant_otherwise(value):
    with pytest.raises(UserError):
        quoted(value)


@given(st.text(min_size=1))
def test_quoted_text_is_always_gin_or_a_user_error(value):
    with contextlib.suppress(UserError):
        parse_literal(quoted(value))


def test_nearest_compares_the_last_parts():
    assert nearest("Onlin", ["online.Online", "offline.Sft"])[0] == "online.Online"


def test_file_alone(world):
    (online,), title = world()
    assert (online.steps, online.lr, online.teacher.hints, title) == (100, 1e-3, 1, "")


@pytest.mark.parametrize(
    ("binding", "field", "value"),
    [
        ("STEPS=5", "steps", 5),
        ("online.Online.steps=5", "steps", 5),
        ("Online.steps=5", "steps", 5),
        ("ginpkg.online.Online.steps=5", "steps", 5),
        ("Online.path=/a/b", "path", "/a/b"),
        ("Online.path='5'", "path", "5"),
        ("Online.teacher=None", "teacher", None),
    ],
)
def test_override(world, binding, field, value):
    (online,), _ = world(binding)
    assert getattr(online, field) == value


def test_the_later_override_wins(world):
    (online,), _ = world("STEPS=5", "STEPS=6")
    assert online.steps == 6


def test_override_by_a_thing_no_file_mentions(world):
    (online,), _ = world("Online.teacher=@online.Other()", "online.Other.hints=7")
    assert (type(online.teacher).__name__, online.teacher.hints) == ("Other", 7)


def test_config_str_of_an_overridden_run_parses_again(world):
    world("Online.steps=5", "Online.teacher=@online.Other()")
    (online,), _ = world(text=gin.config_str())
    assert (online.steps, type(online.teacher).__name__) == (5, "Other")


def test_include_and_plain_file_without_imports(world):
    text = "include 'gin/recipes/toy_online.gin'\nSTEPS = 3\nonline.Online.lr = 0.5\n"
    (online,), _ = world(text=text, file="gin/recipes/more.gin")
    assert (online.steps, online.lr) == (3, 0.5)


def test_scopes_blocks_and_singletons(world):
    text = RECIPE + (
        "online.Online:\n  lr = 0.25\n  teacher = @shared/gin.singleton()\n"
        "shared/gin.singleton.constructor = @far/online.Teacher\nfar/online.Teacher.hints = 4\n"
    )
    (online,), _ = world("far/online.Teacher.hints=9", text=text)
    assert (online.lr, online.teacher.hints) == (0.25, 9)


@pytest.mark.parametrize(
    ("binding", "parts"),
    [
        ("STEP=5", ["--gin.STEP", "STEPS"]),
        ("steps=5", ["--gin.steps", "online.Online.steps"]),
        ("online.Online.stpes=5", ["stpes", "did you mean steps?"]),
        ("online.Onlin.steps=5", ["Onlin", "did you mean online.Online"]),
        ("onlin.Online.steps=5", ["onlin.Online", "online.Online"]),
        ("online.Other.hints=5", ["online.Other"]),
        ("Online.teacher=@online.Othr()", ["Othr", "Other"]),
        ("Online.steps=%STEP", ["%STEP", "STEPS"]),
        ("Online.steps=[1,", ["--gin.Online.steps", "[1,"]),
    ],
)
def test_misspelt_override(world, binding, parts):
    message = fails(world, binding)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("online.Online.stpes = 5", [":8: ", "stpes", "did you mean steps?"]),
        ("online.Onlin.steps = 5", [":8: ", "'Onlin'", "Online"]),
        ("onlin.Online.steps = 5", [":8: ", "'onlin'", "online"]),
        ("online.run.stages = [@online.Onlin()]", [":8: ", "Onlin", "Online"]),
        ("online.Online.steps = %STEP", [":8: ", "%STEP", "STEPS"]),
        ("from ginpkg import onlin", [":8: ", "ginpkg.onlin", "did you mean ginpkg.online"]),
        ("from ginpkg.online import Online", [":8: ", "online.Online"]),
        ("import not_there_at_all", [":8: ", "not_there_at_all", "installed"]),
        ("from ginpkg import broken", [":8: ", "a_module_that_is_not_there", "not installed"]),
        ("from ginpkg import faulty", [":8: ", "ZeroDivisionError"]),
        ("online.Online.steps = = 5", [":8: ", "not gin", "= = 5"]),
        ("online.Online.steps = [1, 2", ["not gin", "bracket"]),
        ("online.Online.steps = @5", [":8: ", "not gin"]),
        ("include 'gin/recipes/math_onlin.gin'", [":8: ", "math_onlin.gin", "toy_online.gin"]),
        ("include 'gin/recipes/bad.gin'", ["includes"]),
        ("online.__doc__.x = 3", [":8: "]),
    ],
)
def test_mistake_in_a_file(world, line, parts):
    text = f"{RECIPE.strip()}\n{line}\n"
    message = fails(world, text=text, file="gin/recipes/bad.gin")
    assert all(part in message for part in parts), message
    assert "bad.gin" in message


def test_missing_dynamic_registration_is_named(world):
    text = RECIPE.replace("from __gin__ import dynamic_registration\n", "")
    assert "dynamic_registration" in fails(world, text=text, file="gin/recipes/bad.gin")


def test_missing_file(world):
    message = fails(world, file="gin/recipes/math_onlin.gin")
    assert "math_onlin.gin" in message and "gin/recipes/toy_online.gin" in message
    assert "toy_online.gin" in fails(world, file="math_onlne.gin")


def test_required(world):
    text = RECIPE.replace("STEPS = 100", "STEPS = %gin.REQUIRED") + "online.Online.path = %gin.REQUIRED\n"
    message = fails(world, text=text, file="gin/recipes/open.gin")
    assert "open.gin:5" in message and "--gin.STEPS=..." in message and "--gin.online.Online.path=..." in message
    assert "STEPS" not in fails(world, "STEPS=2", text=text, file="gin/recipes/open.gin")
    (online,), _ = world("STEPS=2", "Online.path=/x", text=text, file="gin/recipes/open.gin")
    assert (online.steps, online.path) == (2, "/x")


def test_ambiguous_short_name(world, tmp_path):
    (tmp_path / "ginpkg" / "second.py").write_text(ONLINE)
    text = RECIPE + "from ginpkg import second\nsecond.Online.steps = 1\n"
    message = fails(world, "Online.steps=5", text=text, file="gin/recipes/two.gin")
    assert "ginpkg.online.Online or ginpkg.second.Online" in message
    (online,), _ = world("online.Online.steps=5", text=text, file="gin/recipes/two.gin")
    assert online.steps == 5


def test_configured_needs_a_recipe(world):
    world()
    with pytest.raises(UserError, match="give a recipe"):
        configured(nearest)


def test_a_user_error_below_gin_stays_one_line(world, capsys):
    world()
    online = sys.modules["ginpkg.online"]

    def refuse(self, hints=1):
        raise UserError("mend this")

    online.Teacher.__init__ = refuse
    assert run_program(lambda argv: configured(online.run)() and 0, []) == 2
    assert capsys.readouterr().err == "sml-jax: error: mend this\n"
