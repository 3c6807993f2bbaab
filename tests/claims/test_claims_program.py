"""`sml-jax claims`: its files, its flags, and that the report reads what it writes."""

import json

import pytest
from claims_toys import MadeUp

from sml_jax.claims.claims import measure_claims
from sml_jax.claims.figures import write_figures
from sml_jax.claims.job import Job
from sml_jax.claims.output import claims_markdown
from sml_jax.claims.results import ResultStore
from sml_jax.cli.main import main
from sml_jax.report.page import render
from sml_jax.report.run_files import read_runs

NAMES = ["main", *(f"C{number}" for number in range(1, 16))]


@pytest.fixture(scope="module")
def made():
    made = MadeUp()
    for policy, early in (("online", 24), ("base", 8)):
        made.solve(policy, "feedback", early)
        for arm in ("retry", "shuffled"):
            made.solve(policy, arm, 6)
    made.train("online", reached_after=10)
    return made


@pytest.fixture(scope="module")
def workdir(made, tmp_path_factory):
    """A folder with the results of some jobs, and what the program made of them without running any."""
    folder = tmp_path_factory.mktemp("claims")
    store = ResultStore(folder / "results")
    for (policy, domain, seed), record in made.records.items():
        job = Job(policy, domain, seed, {})
        store.write(job, {**record, "recipe": job.recipe})
    assert main(["claims", f"--workdir={folder}", "--plan"]) == 0
    return folder


def test_claims_json_holds_a_row_for_each_claim_and_each_number(workdir):
    rows = json.loads((workdir / "claims.json").read_text())
    assert [row["claim"] for row in rows["claims"]] == NAMES
    by_name = {row["claim"]: row for row in rows["claims"]}
    # Both domains were asked for, and one was measured.
    assert by_name["main"]["verdict"] == "not measured" and by_name["C9"]["verdict"] == "not measured"
    assert by_name["main"]["measures_that_hold"] == "3 of 3 measured, of 6"
    assert by_name["main"]["estimate"] == pytest.approx(40.0) and by_name["main"]["seeds"] == 3
    low, high = by_name["main"]["ci95"]
    assert 0 < low < 40 < high
    measures = [row for row in rows["measures"] if row["claim"] == "main"]
    assert [row["verdict"] for row in measures] == ["holds"] * 3 + ["not measured"] * 3
    assert measures[-1]["estimate"] is None and measures[-1]["remark"].startswith("no results of online on code")


def test_the_table_has_the_same_numbers(workdir, made):
    text = (workdir / "claims.md").read_text()
    assert "| main | online SML teaches the student to use feedback | not measured | 3 of 3 measured, of 6 |" in text
    assert "| main | success@4, online minus base | math | 40.0 [" in text and "| above 0 | holds |  |" in text
    assert claims_markdown(measure_claims(made.results())).count("\n| main |") == 4


def test_figures_are_drawn_and_equal_for_equal_results(workdir, made, tmp_path):
    pytest.importorskip("matplotlib")
    names = {path.name for path in (workdir / "figures").iterdir()}
    assert names == {"measures.svg", "success_by_turn.svg", "training.svg"}
    claims = measure_claims(made.results())
    first = [path.read_text() for path in write_figures(claims, made.results(), tmp_path / "a")]
    assert first == [path.read_text() for path in write_figures(claims, made.results(), tmp_path / "b")]
    # Nothing was measured: nothing is drawn.
    assert write_figures([], MadeUp().results(), tmp_path / "c") == []


def test_the_report_shows_the_claims(workdir):
    pytest.importorskip("matplotlib")
    (run,) = read_runs([workdir], 10)
    page = render([run])
    for text in ('id="claims"', "online SML teaches the student to use feedback", "3 of 3 measured, of 6", "holds"):
        assert text in page
    # The numbers behind a claim stand below the claims.
    assert page.index("3 of 3 measured") < page.index("no results of online on code, feedback")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "needs --workdir=DIR"),
        (["--workdir={0}", "--only=onlin"], "--only: no name 'onlin'; did you mean online"),
        (["--workdir={0}", "--domains=maths"], "--domains: no name 'maths'; did you mean math?"),
        (["--workdir={0}", "--seeds=0,x"], "'x' is no whole number from 0 on"),
        (["--workdir={0}", "--seeds=99999999999"], "99999999999 is no seed"),
        (["--workdir={0}", "--process=2", "--processes=2"], "--process=2 of --processes=2: they are numbered from 0"),
        (["--workdir={0}", "--processes=0"], "'0' is no whole number from 1 on"),
        (["--workdir={0}", "--quik"], "did you mean --quick?"),
        (["--workdir={0}", "--quick=yes"], "--quick"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_cure(flags, words, tmp_path, capsys):
    assert main(["claims", *(flag.format(tmp_path) for flag in flags)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and not any(tmp_path.iterdir())


def test_the_plan_is_printed_and_nothing_is_run(tmp_path, capsys):
    assert main(["claims", f"--workdir={tmp_path}", "--plan", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "plan: 2 jobs" in out and "0 of 1 jobs done" in out and "main" in out
    assert not (tmp_path / "runs").exists() and (tmp_path / "claims.json").is_file()
