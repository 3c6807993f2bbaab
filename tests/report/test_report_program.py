"""`sml-jax report`: its flags, its file, what it prints, and its one-line errors."""

import builtins

import pytest
from report_toys import METRICS, Page, entry, record, write_run

from sml_jax.cli.main import main


@pytest.fixture
def run(tmp_path):
    return write_run(
        tmp_path / "run", evaluation={"toy": {"base": {"feedback": entry(0.5)}}}, metrics=METRICS, dialogues=[record()]
    )


def test_the_report_lies_in_the_first_run_and_tells_what_is_not_in_it(run, tmp_path, capsys):
    other = write_run(tmp_path / "other\u202e", metrics=METRICS)
    assert main(["report", f"--workdir={run}", f"--workdir={other}"]) == 0
    out = capsys.readouterr().out
    assert f"report: {run / 'report.html'} (0." in out and "\u202e" not in out
    assert "note: other\\u202e: There is no eval.json: the run has not been evaluated yet." in out
    page = Page((run / "report.html").read_text())
    assert page.head()["runs"] == ["run", "other\u202e"] and len(page.dialogues()) == 1


def test_the_same_runs_give_the_same_file(run, tmp_path):
    for name in ("a.html", "b.html"):
        assert main(["report", f"--workdir={run}", f"--to={tmp_path / name}", "--dialogues=5"]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "sml-jax report needs --workdir=DIR"),
        (["--workdir="], "--workdir is empty"),
        (["--workdir=RUN", "--workdir=RUN"], "is given twice: give each run's folder once"),
        (["--workdir=RUN", "--to=a", "--to=b"], "--to is given twice"),
        (["--workdir=RUN/gone"], "gone: give --workdir the folder of a run"),
        (["--workdir=RUN", "--to=RUN"], "give a file's name in a folder that exists"),
        (["--workdir=RUN", "--to=RUN/gone/a.html"], "give a file's name in a folder that exists"),
        (["--workdir=RUN", "--dialogues=many"], "'many' is no whole number"),
        (["--workdir=RUN", "--dialogues=-1"], "'-1' is no whole number"),
        (["--work_dir=RUN"], "did you mean --workdir?"),
        (["RUN"], "flags are written --name=value"),
    ],
)
def test_mistakes_are_one_line(run, capsys, flags, message):
    assert main(["report", *(flag.replace("RUN", str(run)) for flag in flags)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (run / "report.html").exists()


def test_without_matplotlib_the_error_says_what_to_install(run, capsys, monkeypatch):
    real_import = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["report", f"--workdir={run}"]) == 2
    assert "pip install 'sml-jax[report]'" in capsys.readouterr().err
