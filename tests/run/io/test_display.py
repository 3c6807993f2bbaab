import io
import sys

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.engine.compiling import Ready
from sml_jax.engine.engine import Engine
from sml_jax.run.io import Progress, printable
from sml_jax.run.io.compile_time import compile_seconds
from sml_jax.run.io.display import late_progress
from sml_jax.run.io.warm_up import warm_up


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_every_interval(capsys):
    clock = Clock()
    with Progress("online", 100, interval=10.0, clock=clock) as progress:
        for step in range(1, 11):
            clock.now += 4
            progress.step(step, {"success": 0.12345, "dialogues/s": 31.0, "groups": 8})
    assert capsys.readouterr().out.splitlines() == [
        "online  step 1/100  success 0.123  dialogues/s 31  groups 8  elapsed 0:00:04  left -",
        "online  step 4/100  success 0.123  dialogues/s 31  groups 8  elapsed 0:00:16  left 0:06:24",
        "online  step 7/100  success 0.123  dialogues/s 31  groups 8  elapsed 0:00:28  left 0:06:12",
        "online  step 10/100  success 0.123  dialogues/s 31  groups 8  elapsed 0:00:40  left 0:06:00",
    ]


def test_the_last_report_is_printed_at_the_end_even_of_a_failed_run(capsys):
    with pytest.raises(RuntimeError), Progress("t", 3, clock=Clock()) as progress:
        progress.step(1)
        progress.step(2)
        raise RuntimeError
    assert [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()] == ["step 1/3", "step 2/3"]


def test_a_resumed_run_leaves_the_first_steps_out_of_its_pace(capsys):
    clock = Clock()
    with Progress("t", 100, interval=0.0, clock=clock) as progress:
        clock.now += 60  # compilation
        progress.step(91)
        clock.now += 2
        progress.step(92)
    assert capsys.readouterr().out.splitlines()[-1].endswith("elapsed 0:01:02  left 0:00:16")


def test_compilation_is_left_out_of_the_time_left(capsys):
    """The second step compiles for a minute more, as where the first long dialogue needs another program."""
    clock, compiled = Clock(), [30.0]
    with Progress("t", 100, interval=0.0, clock=clock, compiling=lambda: compiled[0]) as progress:
        clock.now += 32
        progress.step(1)
        clock.now += 62
        compiled[0] += 60
        progress.step(2)
        clock.now += 2
        progress.step(3)
    shown = [line.partition("elapsed ")[2] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["0:00:32  left -", "0:01:34  left 0:03:16", "0:01:36  left 0:03:14"]


def test_programs_compiled_side_by_side_leave_no_negative_time(capsys):
    clock, compiled = Clock(), [0.0]
    with Progress("t", 10, interval=0.0, clock=clock, compiling=lambda: compiled[0]) as progress:
        progress.step(1)
        clock.now += 10
        compiled[0] += 18
        progress.step(2)
    assert capsys.readouterr().out.splitlines()[-1].endswith("left -")


def test_jax_tells_how_long_it_compiles():
    before = compile_seconds()
    jax.jit(lambda x: x * 3 + len("a program of this test alone"))(1.0)
    assert compile_seconds() > before


def test_a_part_of_a_step_counts_and_a_report_without_progress_does_not(capsys):
    clock = Clock()
    with Progress("t", 4, interval=0.0, clock=clock, compiling=lambda: 0.0) as progress:
        progress.step(0.25)
        for _ in range(50):  # a slow teacher is asked again and again
            clock.now += 0.2
            progress.step(0.25)
        progress.step(1.25)
    assert capsys.readouterr().out.splitlines()[-1] == "t  step 1/4  elapsed 0:00:10  left 0:00:28"


def test_no_control_code_off_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress("t\x1b[1m", 2) as progress:
        progress.note("hello\x1b[2J\r [bold]you[/]")
        progress.step(1, {"success": float("nan")})
    text = capsys.readouterr().out
    assert "hello\\x1b[2J\\r [bold]you[/]\n" in text
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_gets_a_live_line_and_a_dumb_one_plain_lines(monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "120")
    file = Terminal()
    monkeypatch.setattr(sys, "stdout", file)
    with Progress("online", 4) as progress:
        progress.step(1, {"success": 0.5})
        progress.note("a [note]")
        progress.step(4, {"success": 0.75})
    text = file.getvalue()
    assert "a [note]" in text and "step 4/4  success 0.75" in text and "left 0:00:00" in text
    assert ("\x1b[" in text) == (term == "xterm")


@given(st.text())
def test_printable_steers_nothing(text):
    shown = printable(text)
    assert all(character.isprintable() or character in "\n\t" for character in shown)
    assert printable(shown) == shown


def test_the_line_of_late_progress_begins_with_its_first_report_and_anew_with_another_length(capsys):
    with late_progress("files") as tell:
        assert capsys.readouterr().out == ""
        for done in (1, 2):
            tell(done, 2)
        tell(1, 3)
    lines = [line.partition("  elapsed")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["files  step 1/2", "files  step 2/2", "files  step 1/3"]


class CompilingEngine(Engine):
    """An engine that compiles nothing, and takes some seconds for it by `clock`."""

    def __init__(self, clock: Clock, executables: list[tuple[str, float]]):
        self._clock, self._executables = clock, executables

    def warm_up(self, params, tell):
        if self._executables:
            tell(Ready(0, len(self._executables)))
        for number, (name, seconds) in enumerate(self._executables, start=1):
            self._clock.now += seconds
            tell(Ready(number, len(self._executables), name, seconds))


def test_what_is_compiled_is_shown_at_times_and_in_the_end(capsys):
    clock = Clock()
    names = [("decode 32 behind 64", 6.0), ("extend by 16 behind 64", 3.2), ("write 16 behind 64", 1.0)]
    with Progress("online", 4, clock=clock) as progress:
        warm_up(CompilingEngine(clock, names), None, progress)
    assert capsys.readouterr().out.splitlines() == [
        "online  compiling 0 of 3",
        "online  compiling 3 of 3: write 16 behind 64, 1.0 s",
        "3 executables are ready after 0 s, 0 from the cache",
    ]
    with Progress("online", 4, clock=clock) as progress:
        warm_up(CompilingEngine(clock, []), None, progress)
    assert capsys.readouterr().out == "", "where nothing is left to compile there is nothing to say"
    warm_up(CompilingEngine(clock, names), None)
    assert capsys.readouterr().out.splitlines() == [
        "compiling 0 of 3",
        "3 executables are ready after 0 s, 0 from the cache",
    ]
