"""Bad inputs end a program before work begins, with exit code 2 and one line that names what is wrong and the cure."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import bad_data
import bad_flags
import bad_gin
import bad_models
import bad_settings
import bad_texts
import gin
import pytest
from bad_files import Files

from sml_jax.cli.main import main, run_program
from sml_jax.engine.engine import Engine
from sml_jax.learn.update import Learner

TABLES = {
    "flags": bad_flags.TABLE,
    "gin": bad_gin.TABLE,
    "settings": bad_settings.TABLE,
    "data": bad_data.TABLE,
    "models": bad_models.TABLE,
    "texts": bad_texts.TABLE,
}
ROWS = [(table, name) for table, rows in TABLES.items() for name in rows]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sound")


@pytest.fixture
def no_work(monkeypatch):
    """Fails a test in which a model begins to speak or to learn."""

    def began(*_, **__):
        raise AssertionError("work began")

    for owner, name in ((Engine, "extend"), (Engine, "decode"), (Engine, "warm_up"), (Learner, "update")):
        monkeypatch.setattr(owner, name, began)


def test_there_are_enough():
    assert len(ROWS) >= 200


def check(table: str, name: str, text: str) -> None:
    """What stands on the terminal ends in the one line of the error."""
    line = text.rstrip("\n").split("\n")[-1]
    bad = TABLES[table][name]
    assert line.startswith("sml-jax: error: ") and text.count("sml-jax: error: ") == 1, text
    assert "Traceback" not in text, text
    for pattern in (bad.names, bad.cure):
        assert pattern and re.search(pattern, line), (pattern, line)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("table", "name"), ROWS)
def test_bad_input(table, name, shared, tmp_path, monkeypatch, capsys, caplog):
    argv = list(TABLES[table][name].argv(Files(tmp_path, shared)))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(argv) == 2
    gin.clear_config()
    check(table, name, capsys.readouterr().err)
    assert "Traceback" not in caplog.text
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("settings", "PolicyLoss.kl_coef=1e999"),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (
                ("flags", "two workdirs"),
                ("gin", "macros in a circle"),
                ("settings", "DialogueRules.max_turns=400"),
                ("data", "another column"),
                ("models", "model.json of another width"),
                ("models", "parameters cut"),
                ("models", "a tensor misshapen"),
                ("texts", "no end of a turn"),
            )
        ),
    ],
)
def test_as_a_program(table, name, shared, tmp_path):
    """Without pytest's logging and type checks; the others with `pytest -m slow tests/bad_inputs`."""
    argv = TABLES[table][name].argv(Files(tmp_path, shared))
    done = subprocess.run(
        [sys.executable, "-m", "sml_jax", *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    check(table, name, done.stderr)


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/run/metrics.jsonl"), ("/run/metrics.jsonl", "make room")),
        (PermissionError(errno.EACCES, "Permission denied", "/run"), ("/run", "permission")),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 155 bytes.\nframes"), ("155 bytes", "fewer rows")),
    ],
)
def test_what_the_machine_refuses(error, parts, capsys):
    def program(_):
        raise error

    assert run_program(program, []) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(part in err for part in parts), err


@pytest.mark.parametrize("error", [RuntimeError("a fault"), OSError(errno.EBADF, "Bad file descriptor"), KeyError("x")])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    def program(_):
        raise error

    with pytest.raises(type(error)):
        run_program(program, [])
