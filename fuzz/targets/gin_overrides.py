"""Command lines and gin files: they parse, or a UserError says why, or `--help` was asked for."""

from __future__ import annotations

import contextlib
import io
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken
from sml_jax.cli.flags import ProgramFlag, parse_program_flags
from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import load_experiment, parse_gin
from sml_jax.gin_config.reader import parse_literal, references

_ROOT = Path(__file__).resolve().parents[2]
_RECIPE = str(_ROOT / "gin/recipes/pocket_math_online.gin")
# Names that a binding may have: macros, parameters, scopes, and what is none of them.
_KEYS = (
    *("STEPS", "SEED", "Online.steps", "online.Online.steps", "Online.group_size", "online/adamw.learning_rate"),
    *(
        "adamw.b1",
        "DialogueRules.max_turns",
        "Experiment.stages",
        "Experiment.max_concurrent",
        "Experiment.task",
        "Suite.arms",
    ),
    *("math/Suite.arms", "Sampling.temperature", "Pretrained.path", "PolicyLoss.clip_low", "macro.value"),
    *("gin.macro.value", "STEPS/macro.value", "Online", "gin.REQUIRED", "online.Online", "a/b/STEPS", "x"),
    *("__class__", "Online.", ".steps", "Experiment.suites"),
)
# Values in gin's syntax, whole and broken, some of them too long or too deep.
_VALUES = (
    *("1", "0", "-1", "1e3", "1e999", "nan", "True", "true", "None", "'a'", '"', "'", "[", "]", "(", ")", "{", "}"),
    *(",", ":", "%STEPS", "%SEED", "%gin.REQUIRED", "%", "@", "@online.Online()", "@online.Online"),
    *("@world.PocketMath()", "@a/b()", "('retry',)", "[1, 2]", "{'a': 1}", "{[]: 1}", "()", "\\", "#", ";", "\n"),
    *("=", "-", "+", "0x10", "1_000", "9" * 5000, "'''", "f'{1}'", "b'a'", "lambda: 1", "1 if 2 else 3", "1 +2j"),
    *("(" * 300, "[" * 100, "-" * 3000, "'a' 'b'", "..."),
)
_FLAGS = (
    *("--workdir=/tmp/x", "--workdir", "--workdir=", "--workdir=~nobody_at_all/x", "--workdir=\x00", "--help", "-h"),
    *("--", "--checkpoint=y", "--number=3", "--number=x", "--gin_file", "--gin_file=", "--gin_file=nowhere.gin"),
    *("--gin.", "--gin", "--gin_file=~nobody_at_all/a.gin", "--gin_file=\x00", "--gin_file=."),
    *("--gin_file=/dev/null", f"--gin_file={_RECIPE}", "--gin.STEPS=5", "--gin.STEPS", "--gin.=", "--gin_files=x"),
    *("word", "-x", "--help=1", "--gin.NAME=1", "--%s=1"),
)
_EXTRA = (ProgramFlag("checkpoint", "a folder"), ProgramFlag("number", "a number", int, 1))
# Lines of a gin file.
_LINES = (
    "from __gin__ import dynamic_registration",
    "from sml_jax.run import experiment",
    "from sml_jax.run.stages import online",
    "from sml_jax.nowhere import x",
    "import sml_jax.common.errors",
    f"include '{_RECIPE}'",
    "include 'gin/nowhere.gin'",
    "experiment.Experiment.max_concurrent = 4",
    "online.Online.steps = %STEPS",
    "online.Online:",
    "    steps = 4",
    "STEPS = 5",
    "STEPS = %OTHER",
    "OTHER = %STEPS",
    "a/b.c = @online.Online()",
    "x = [",
    "]",
    "'''",
    "# a comment",
    "online.Online.optimizer = @online/optimizers.adamw()",
)


def _parse_flags(argv: list[str]) -> Any:
    """Parses a command line; SystemExit(0) is what `--help` ends with."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return allowed(lambda: parse_program_flags("sml-jax x", "Does x.", argv, _EXTRA))
    except SystemExit as stop:
        assert stop.code == 0, f"exit code {stop.code}"
        return None


def _check_flags(source: Source) -> None:
    # What was parsed is what stood on the command line.
    argv = [source.text(_FLAGS, 2, 300) for _ in range(source.integer(0, 5))]
    argv += [f"--gin.{source.text(_KEYS, 2, 100)}={source.text(_VALUES, 3, 6000)}" for _ in range(source.integer(0, 2))]
    parsed = _parse_flags(argv)
    if parsed is None or isinstance(parsed, UserError):
        return
    assert parsed.gin_files and all(f"--gin.{binding}" in argv for binding in parsed.gin_bindings)
    assert f"--workdir={parsed.workdir}" in argv or any(argument.startswith("--workdir") for argument in argv)


def _same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right) and type(left) is type(right)


def _without_places(function: Callable[[], Any]) -> Any:
    """What a function returns; a UserError without the lines that gin puts below it, which programs do not print."""
    try:
        return function()
    except UserError as error:
        first, *others = str(error).split("\n")
        assert all(line.startswith("  In call to configurable") for line in others), str(error)
        raise UserError(first) from error


def _check_overrides(source: Source) -> None:
    bindings = [f"{source.pick(_KEYS)}={source.text(_VALUES, 4, 6000)}" for _ in range(source.integer(1, 3))]
    if source.flag(4):
        bindings.append(f"{source.text(_KEYS, 3, 60)}={source.text(_VALUES, 2, 200)}")
    # Now and then the whole experiment is made, which takes long.
    if source.flag(3):
        allowed(lambda: _without_places(lambda: load_experiment([_RECIPE], bindings)))
        return
    error = allowed(lambda: parse_gin([_RECIPE], bindings))
    if isinstance(error, UserError):
        return
    # A macro that is bound once has the value that was written.
    values = dict(binding.split("=", 1) for binding in bindings)
    for macro in ("STEPS", "SEED"):
        if (
            macro not in values
            or f"{macro}/macro.value" in values
            or sum(b.startswith(f"{macro}=") for b in bindings) > 1
        ):
            continue
        try:
            expected = parse_literal(values[macro])
        except SyntaxError:
            expected = values[macro]  # a text whose quotes a shell has eaten
        if not any(references(expected)):
            actual = gin.query_parameter(f"%{macro}")
            assert _same(actual, expected), f"{values[macro]!r} became {actual!r}"


def _check_files(source: Source) -> None:
    text = "\n".join(
        source.pick(_LINES) if source.flag() else source.text(_LINES, 3, 200) for _ in range(source.integer(0, 8))
    )
    # Most files begin with the import that all others need.
    content = (text if source.flag(3) else f"{_LINES[0]}\n{text}\n").encode("utf-8", "surrogatepass")
    if source.flag(3):
        content = broken(source, content)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.gin"
        path.write_bytes(content)
        allowed(
            lambda: parse_gin(
                [str(path)], [f"{source.pick(_KEYS)}={source.text(_VALUES, 2, 60)}"] * source.integer(0, 1)
            )
        )


def check(source: Source) -> None:
    """One case."""
    source.pick((_check_flags, _check_overrides, _check_files))(source)
    gin.clear_config()


def target() -> Target:
    """Command lines and gin."""
    os.chdir(_ROOT)
    return Target("gin_overrides", check, cpu_s=10.0)
