import subprocess
import sys
import types
from pathlib import Path

import pytest
from gin.utils import augment_exception_message_and_reraise

from sml_jax.cli import main as cli
from sml_jax.cli.flags import ProgramFlag, parse_program_flags
from sml_jax.common.errors import UserError


@pytest.fixture
def train(monkeypatch):
    """Stands in for the training program: `train(main)` installs it."""

    def install(main):
        monkeypatch.setitem(sys.modules, "sml_jax.cli.train", types.SimpleNamespace(main=main))

    return install


def test_dispatch_hands_on_the_rest_and_the_exit_code(train):
    seen = []
    train(lambda argv: seen.append(list(argv)) or 3)
    assert cli.main(["train", "--workdir=/w", "--gin.X=1"]) == 3
    assert seen == [["--workdir=/w", "--gin.X=1"]]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_program(flag, capsys):
    assert cli.main([flag]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.PROGRAMS)


@pytest.mark.parametrize(
    ("argv", "part"), [(["trian"], "did you mean train?"), ([], "train|evaluate"), (["--workdir=/w"], "program first")]
)
def test_unknown_program_is_one_line_and_code_2(argv, part, capsys):
    assert cli.main(argv) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("sml-jax: error: ") and part in err


def test_user_error_is_one_line_without_what_gin_appends(train, capsys):
    def main(argv):
        error = UserError("the context is too short; give --gin.CONTEXT=512")
        augment_exception_message_and_reraise(error, "\n  In call to configurable 'run'")

    train(main)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "sml-jax: error: the context is too short; give --gin.CONTEXT=512\n"


def test_interrupt_is_130_and_faults_pass_through(train):
    def interrupted(argv):
        raise KeyboardInterrupt

    train(interrupted)
    assert cli.main(["train"]) == 130

    def faulty(argv):
        raise ZeroDivisionError

    train(faulty)
    with pytest.raises(ZeroDivisionError):
        cli.main(["train"])


FLAGS = [ProgramFlag("checkpoint", "a run's folder", required=True), ProgramFlag("seed", "the seed", int, 0)]


def parse(*argv):
    return parse_program_flags("sml-jax evaluate", "Evaluates.", argv, FLAGS)


def test_program_flags():
    flags = parse("--gin_file=a.gin", "--gin.X=1", "--workdir=/w", "--checkpoint=/c", "--seed=4", "--gin_file=b.gin")
    assert vars(flags) == {
        "gin_files": ("a.gin", "b.gin"),
        "gin_bindings": ("X=1",),
        "workdir": Path("/w"),
        "checkpoint": "/c",
        "seed": 4,
    }


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--workdir=/w", "--checkpoint=/c"], "--gin_file="),
        (["--gin_file=a", "--checkpoint=/c"], "--workdir="),
        (["--gin_file=a", "--workdir=/w"], "--checkpoint="),
        (["--gin_file=a", "--workdir=/w", "--chekpoint=/c"], "did you mean --checkpoint?"),
        (["--gin_file=a", "--workdir=/w", "--checkpoint=/c", "--seed=x"], "seed"),
        (["--gin_file=a", "--workdir=/w", "--checkpoint=/c", "stray"], "--name=value"),
        (["--gin_file", "a"], "with = and no space"),
        (["--workdir"], "workdir"),
    ],
)
def test_program_flags_name_the_mistake(argv, part):
    with pytest.raises(UserError) as caught:
        parse(*argv)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_program_help(train, capsys):
    train(lambda argv: parse(*argv) and 0)
    assert cli.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ["--gin_file", "--gin.NAME", "--workdir", "--checkpoint", "Evaluates."])


def test_module_run_does_not_load_jax():
    code = "import sys; from sml_jax.cli.main import main; main(['--help']); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
