"""Every fuzz target runs a few cases, so that none rots; the fuzzer finds what is there. See docs/fuzzing.md."""

import sys
import time
from pathlib import Path

import pytest

from sml_jax.common.errors import UserError

sys.path.append(str(Path(__file__).resolve().parents[1]))

from fuzz.campaign import Campaign, HangError, Target, allowed, random_cases, run_case, run_random
from fuzz.run import TARGETS, load, main
from fuzz.source import MAX_CHARACTERS, Source, broken, changed, dumps

CASES = {"math": 6, "gin_overrides": 12, "rows": 20, "tokenizer_file": 12}


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_cases_of_each_target(name, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    target, campaign = load(name), Campaign()
    run_random(target, campaign, seed=0, cases=CASES.get(name, 30))
    target.close()
    assert campaign.cases == CASES.get(name, 30)
    assert {finding.fault: finding.trace for finding in campaign.findings.values()} == {}


def planted(source: Source) -> None:
    """Three faults: an error, a hang in a pattern that Python cannot leave, an error text of two lines."""
    kind = source.integer(0, 9)
    if kind == 3:
        raise KeyError("x")
    if kind == 4:
        while time.process_time() >= 0:
            pass
    if kind == 5:
        error = UserError("x")
        error.args = ("two\nlines",)
        allowed(lambda: (_ for _ in ()).throw(error))
    if kind == 6:
        raise UserError("may be raised only where a target allows it")


def test_what_is_wrong_is_found_counted_and_kept(tmp_path):
    target, campaign = Target("planted", planted, cpu_s=0.05), Campaign()
    for kind in (0, 3, 4, 5, 6, 3):
        campaign.run(target, bytes([kind, *b"more"]))
    assert sorted(fault.split()[0] for fault in campaign.findings) == [
        "AssertionError",
        "HangError",
        "KeyError",
        "UserError",
    ]
    assert campaign.cases == 6 and sorted(campaign.counts.values()) == [1, 1, 1, 2]
    campaign.save(target, tmp_path)
    cases = sorted(tmp_path.glob("planted-*.case"))
    assert len(cases) == 4
    assert {run_case(target, case.read_bytes()).fault for case in cases} == set(campaign.findings)
    assert HangError("x").args and all("Traceback" in path.read_text() for path in tmp_path.glob("*.txt"))


def test_the_command_runs_a_target_and_replays_a_case(tmp_path, capsys):
    flags = ["--target=code_text", "--engine=random", f"--keep={tmp_path}"]
    assert main([*flags, "--minutes=0.002"]) == 0
    assert '"target": "code_text"' in capsys.readouterr().out
    (tmp_path / "a.case").write_bytes(b"\x00\x01\x02")
    assert main([*flags, f"--replay={tmp_path / 'a.case'}"]) == 0


def test_the_same_seed_gives_the_same_cases():
    def first(seed: int) -> list[bytes]:
        return [case for case, _ in zip(random_cases(seed), range(50), strict=False)]

    assert first(1) == first(1) != first(2)
    assert len(set(first(1))) > 40


def test_a_case_is_its_bytes():
    data = bytes(range(200))
    one, other = Source(data), Source(data)
    assert one.text(("a", "bc")) == other.text(("a", "bc"))
    assert one.pumped(("x",), 100) == other.pumped(("x",), 100)
    assert changed(one, {"a": [1, {"b": None}]}) == changed(other, {"a": [1, {"b": None}]})
    assert broken(one, b"abc") == broken(other, b"abc")
    ended = Source(b"")
    assert (ended.integer(3, 9), ended.pick("abc"), ended.text(("a",)), ended.done) == (3, "a", "", True)
    longest = max(
        len(Source(case).pumped(("ab", " "), MAX_CHARACTERS))
        for case, _ in zip(random_cases(0), range(200), strict=False)
    )
    assert 50_000 < longest <= MAX_CHARACTERS + 12
    assert dumps(["@deep 3@"]) == "[[[[]]]]"
