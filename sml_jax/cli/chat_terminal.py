"""The terminal of `sml-jax chat`: what is printed, and what is done with a typed line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.run.chat_dialogue import ChatDialogue, ChatModel
from sml_jax.run.io.display import printable
from sml_jax.run.io.json_lines import drop_torn_line, writing
from sml_jax.run.typed_problems import is_judged, typed_problem
from sml_jax.tasks.problems.types import Problem, Role, Verdict

COMMANDS = "/retry, /problem, /problem Q = A, /save, /help, /quit"
_NARROWEST = 20  # columns; lines are not wrapped for a terminal that is narrower


class WordWrap:
    """Prints a text that comes in pieces, with lines broken between words.

    Args:
      head: printed before the text, such as who speaks.
    """

    def __init__(self, head: str):
        self._width = max(shutil.get_terminal_size().columns, _NARROWEST)
        self._column, self._blanks, self._word = 0, "", ""
        self.write(head)

    def write(self, text: str) -> None:
        """Prints all of the text but a word at its end, which may go on in the next piece."""
        for character in printable(text):
            if character == "\n":
                self._print_word()
                sys.stdout.write("\n")
                self._column, self._blanks = 0, ""
            elif character.isspace():
                self._print_word()
                self._blanks += " "
            else:
                self._word += character
                # A word that fills a line will not fit anywhere.
                if len(self._word) == self._width:
                    self._print_word()
        sys.stdout.flush()

    def end(self) -> None:
        """Prints what is left, and ends the line."""
        self._print_word()
        sys.stdout.write("\n")
        sys.stdout.flush()

    def _print_word(self) -> None:
        """Prints the word in hand, on a new line if this one has no room for it; no blanks end a line."""
        if not self._word:
            return
        if self._column and self._column + len(self._blanks) + len(self._word) > self._width:
            sys.stdout.write("\n")
            self._column, self._blanks = 0, ""
        sys.stdout.write(self._blanks + self._word)
        self._column += len(self._blanks) + len(self._word)
        self._blanks, self._word = "", ""


def say(text: str) -> None:
    """Prints a paragraph, wrapped to the terminal."""
    paragraph = WordWrap("")
    paragraph.write(text)
    paragraph.end()


class Terminal:
    """A conversation with a model: dialogue after dialogue, until the person quits.

    Args:
      model: who is talked with.
      problems: of the task, in the order in which `/problem` takes them.
      person: the person's side.
      save_to: the file that `/save` adds to.
      name: of the model, for what is printed and saved.
    """

    def __init__(self, model: ChatModel, problems: Sequence[Problem], person: Role, save_to: Path, name: str):
        self._model, self._person, self._save_to, self._name = model, person, save_to, name
        self._problems, self._typed_numbers, self._ids = iter(problems), count(1), count()
        self._dialogue: ChatDialogue | None = None
        self._tty = sys.stdin.isatty()

    def run(self, first_problem: str | None) -> None:
        """Talks until the person quits, or the input ends.

        Args:
          first_problem: typed as for `/problem`; None for the task's first one.
        """
        say(f"{self._name}: you are the {self._person}. {COMMANDS}")
        if self._tty:
            # Arrow keys and the history of lines, where Python has them.
            with suppress(ImportError):
                import readline  # noqa: F401
        self._begin(first_problem or "")
        while True:
            try:
                line = input(self._prompt()).strip()
            except EOFError:
                print(flush=True)
                return
            if line == "/quit":
                return
            # A mistake of the person's, or a dialogue that has no room left, is said and not the end.
            try:
                self._take(line)
            except UserError as error:
                say(f"[{error}]")

    def _prompt(self) -> str:
        """What stands before the person's words."""
        dialogue = self._dialogue
        if dialogue is None or not self._person_speaks(dialogue):
            return "> "
        return f"{self._person}> "

    def _person_speaks(self, dialogue: ChatDialogue) -> bool:
        """Whether what is typed now is the person's turn."""
        return bool(dialogue.turns_left) and dialogue.awaits_student == (self._person == "student")

    def _take(self, line: str) -> None:
        """Does what a line says."""
        command, _, rest = line.partition(" ")
        if command == "/problem":
            self._begin(rest.strip())
        elif line == "/retry":
            self._retry()
        elif line == "/save":
            self._save()
        elif line == "/help":
            say(f"{COMMANDS}. Ctrl-C stops a reply; Ctrl-D quits.")
        elif line.startswith("/"):
            say(f"[no command {command}: there are {COMMANDS}]")
        elif self._dialogue is None or not self._person_speaks(self._dialogue):
            stopped = self._dialogue is not None and self._dialogue.turns_left
            if line:
                say("[the model's turn: /retry]" if stopped else "[this dialogue is over: /problem begins a new one]")
        elif line and self._person == "teacher":
            if self._dialogue.say_as_teacher(line):
                say("[this gives the answer away, and is saved as a leak]")
            self._model_speaks()
        elif line:
            self._show_verdict(self._dialogue.say_as_student(line))
            self._model_speaks()

    def _begin(self, typed: str) -> None:
        """Begins a dialogue about a typed problem, or about the next one of the task if nothing is typed."""
        if typed:
            problem = typed_problem(next(self._typed_numbers), typed)
        else:
            next_problem = next(self._problems, None)
            if next_problem is None:
                say("[no problem is left: /problem Q = A takes the question Q, whose answer is A]")
                return
            problem = next_problem
        self._dialogue = None
        try:
            self._dialogue = ChatDialogue(self._model, problem, self._person, self._ids)
        except UserError as error:
            say(f"[{error}]")
            return
        print(flush=True)
        say(f"problem {problem.id}: {problem.question}")
        private = self._model.task.static_knowledge(problem)
        if private and self._person == "teacher":
            say(f"[for you alone: {private}]")
        if self._person == "teacher":
            self._model_speaks()

    def _model_speaks(self) -> None:
        """Lets the model take its turn, if the dialogue is not over."""
        dialogue = self._dialogue
        assert dialogue is not None
        if not dialogue.turns_left:
            return
        try:
            if self._person == "teacher":
                turn = WordWrap("student: ")
                try:
                    verdict = dialogue.sample_student_turn(turn.write)
                finally:
                    turn.end()
                self._show_verdict(verdict)
            else:
                # The leak guard reads the whole reply before the student sees a word of it.
                try:
                    reply = dialogue.sample_teacher_turn(lambda: print(".", end="", flush=True))
                finally:
                    print(flush=True)
                say(f"teacher: {reply}")
        except KeyboardInterrupt:
            # The model's call may have been cut in the middle.
            self._dialogue = dialogue.before_latest_turn()
            what = "/retry lets the model speak again" if self._person == "teacher" else "your turn is taken back"
            say(f"[stopped: {what}]")

    def _show_verdict(self, verdict: Verdict) -> None:
        """Prints the turn's number, the verdict, and what the teacher alone learns."""
        dialogue, task = self._dialogue, self._model.task
        assert dialogue is not None
        number, left = len(dialogue.live.verdicts), dialogue.turns_left
        judged = "correct" if verdict.correct else "wrong" if verdict.attempted else "no answer"
        if not is_judged(dialogue.live.problem):
            judged = "not judged"
        say(f"[turn {number} of {dialogue.live.max_turns}: {judged}]")
        private = task.dynamic_knowledge(dialogue.live.problem, verdict)
        if private and self._person == "teacher" and left:
            say(f"[for you alone: {private}]")
        if not left:
            say("[the dialogue is over: /save, /retry, /problem or /quit]")

    def _retry(self) -> None:
        """Takes the student's latest turn back, and lets the model speak where it is the student."""
        dialogue, teaches = self._dialogue, self._person == "teacher"
        # After a turn that was stopped, it is the model's turn still.
        is_models_turn = dialogue is not None and teaches and dialogue.awaits_student
        if dialogue is None or not (is_models_turn or dialogue.take_back()):
            say("[there is no turn to take back]")
        elif teaches:
            self._model_speaks()
        else:
            say("[your turn is taken back]")

    def _save(self) -> None:
        """Adds the dialogue to the file."""
        if self._dialogue is None:
            say("[there is no dialogue to save]")
            return
        record = self._dialogue.record(self._name if self._person == "teacher" else "person")
        with writing(self._save_to):
            self._save_to.parent.mkdir(parents=True, exist_ok=True)
            drop_torn_line(self._save_to)
            with self._save_to.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        say(f"[saved to {self._save_to}]")
