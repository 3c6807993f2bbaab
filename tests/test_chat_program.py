"""`sml-jax chat`: what a person types and sees, on a terminal of its own."""

import errno
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

from sml_jax.cli.chat import main
from sml_jax.cli.chat_terminal import WordWrap
from sml_jax.common.errors import UserError
from sml_jax.run.typed_problems import TypedProblems, is_judged, typed_problem
from sml_jax.tasks.math.task import MathTask

QUESTION = "multiply 226 by 442 and keep the hundreds digit and the last digit"
ROOT = Path(__file__).resolve().parent.parent


class Screen:
    """The program on a pseudo-terminal of some columns: what it prints, and what is typed."""

    def __init__(self, arguments, folder, columns=80):
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "", "TERM": "dumb"}
        environment.pop("COLUMNS")
        command = [sys.executable, "-m", "sml_jax", "chat", *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment, start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def until(self, pattern, seconds=240):
        """Waits until the text since the last call matches; returns that text."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"no {pattern!r} in {self.text!r}"
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if ready:
                try:
                    self.text += os.read(self.master, 65536).decode("utf-8", "replace").replace("\r\n", "\n")
                except OSError as error:  # how Linux says that the other end is closed
                    assert error.errno == errno.EIO
                    assert re.search(pattern, self.text), f"the program ended: {self.text!r}"
        seen, self.text = self.text, ""
        return seen

    def type(self, line):
        os.write(self.master, f"{line}\n".encode())

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def screen(tmp_path):
    opened = []

    def start(*arguments, columns=80):
        opened.append(Screen([*arguments], tmp_path, columns))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.slow
def test_a_person_teaches_the_pocket_model(screen, tmp_path):
    chat = screen("--checkpoint=pocket", f"--problem={QUESTION} = 12345")
    opening = chat.until(r"\[turn 1 of 10: \w+( \w+)?\](.|\n)*teacher> ")
    assert "you are the teacher" in opening and "[for you alone: " in opening and "\nstudent: " in opening
    chat.type("part 1 is too low")
    second = chat.until(r"\[turn 2 of 10: .*\](.|\n)*> $")
    chat.type("/retry")
    again = chat.until(r"\[turn 2 of 10: .*\](.|\n)*> $")
    assert "student: " in second and "student: " in again
    chat.type("/save")
    chat.until(r"saved to .*chat.jsonl\]\n")
    chat.type("/problem")
    assert "problem pocket_math-" in chat.until(r"\[turn 1 of 10: .*\](.|\n)*> $")
    chat.type("/problem add 2 and 3 = 5")
    assert "problem typed-2: add 2 and 3\n" in chat.until(r"\[turn 1 of 10: .*\](.|\n)*> $")
    chat.type("/wrong")
    chat.until("no command /wrong")
    chat.type("/quit")
    assert chat.process.wait(60) == 0
    (record,) = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text().splitlines()]
    assert (record["arm"], record["policy"], record["problem_id"]) == ("person", "pocket", "typed-1")
    assert [turn["role"] for turn in record["turns"]] == ["teacher", "student", "teacher", "student"]
    assert record["turns"][2]["text"] == "part 1 is too low" and record["turns"][0]["text"] == QUESTION
    assert len(record["verdicts"]) == 2 and record["turns"][3]["text"] in again.replace("\n", " ")


@pytest.mark.slow
def test_a_person_is_the_student_on_a_narrow_terminal_and_leaves_by_ctrl_c(screen):
    chat = screen("--checkpoint=pocket", "--you=student", columns=24)
    opening = chat.until("student> ")
    assert "for you alone" not in opening
    assert max(map(len, opening.split("\n"))) <= 24
    chat.type("my answer is 12")
    reply = chat.until(r"teacher: (.|\n)*student> ")
    assert "turn 1 of 10" in reply.replace("\n", " ")
    os.write(chat.master, b"\x03")
    assert "sml-jax: interrupted" in chat.until("interrupted")
    assert chat.process.wait(60) == 130


def test_help_says_every_flag_and_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for word in ("--checkpoint", "--you", "--problem", "--save_to", "/retry", "/problem", "/save", "/quit", "Ctrl-D"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "sml-jax chat needs --checkpoint=..."),
        (["--checkpoint=pocket", "--you=judge"], "'judge' is not allowed"),
        (["--checkpoint=pocket", "--turns=0"], "turns is 0"),
        (["--checkpoint=none", "--gin.SEED=1"], "there is no recipe: give one with --gin_file"),
    ],
)
def test_mistakes_in_flags(arguments, says):
    with pytest.raises(UserError, match=re.escape(says)):
        main(arguments)


def test_lines_break_between_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    wrap = WordWrap("student: ")
    for piece in ("the ans", "wer is ", "forty-two, and", " \x1b[31m not\nmore ", "x" * 50):
        wrap.write(piece)
    wrap.end()
    lines = capsys.readouterr().out.split("\n")
    assert all(len(line) <= 20 for line in lines) and "\x1b" not in "".join(lines)
    assert [line.rstrip() for line in lines[:3]] == ["student: the answer", "is forty-two, and", "\\x1b[31m not"]
    assert "".join(lines[3:]).replace("more", "").strip() == "x" * 50


def test_typed_problems_are_judged_by_their_answers():
    known, unknown = typed_problem(1, "what is 3 = x + 1, for x = 2"), typed_problem(2, "why?")
    assert (known.question, known.answer, unknown.question, unknown.answer) == (
        "what is 3 = x + 1, for x",
        "2",
        "why?",
        "",
    )
    task = TypedProblems(MathTask("none", {}))
    assert [v.correct for v in task.verify([(known, "\\boxed{2}"), (known, "\\boxed{3}"), (unknown, "2")])] == [
        True,
        False,
        False,
    ]
    assert is_judged(known) and not is_judged(unknown)
    assert task.leaks(known, "it is 2", "why") and not task.leaks(unknown, "it is 2", "why")
    assert task.static_knowledge(known) == "the final answer is 2" and task.static_knowledge(unknown) == ""
