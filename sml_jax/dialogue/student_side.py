"""The student's side of a rollout: turns sampled, judged, perhaps replaced by a question, and written to both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sml_jax.dialogue.drops import VERIFIER, drop_on_error, not_dropped
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.judging import Judged, Unjudged, judge, judged_aside
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.speakers import QuestionWriter, TeacherSide
from sml_jax.engine.context_batch import ContextBatch, Utterance
from sml_jax.tasks.problems.types import Task, Turn


@dataclass
class _Said:
    """A student's turn on its way: as it was sampled, and as the other side reads it."""

    live: LiveDialogue
    utterance: Utterance
    spoken: list[int]
    question: bool = False


class StudentSide:
    """Speaks for the student in every row of a rollout."""

    def __init__(
        self,
        rows: ContextBatch,
        task: Task,
        framing: Framing,
        rules: DialogueRules,
        teacher: TeacherSide,
        writer: QuestionWriter | None,
    ):
        self.rows = rows
        self._task, self._framing, self._rules, self._teacher, self._writer = task, framing, rules, teacher, writer

    def open(self, live: LiveDialogue) -> None:
        """Gives the row's context to this dialogue."""
        self.rows.start(live.row, live.id, live.record.tokens)

    def begin(self, lives: Sequence[LiveDialogue]) -> None:
        """Lets the student speak in these dialogues: in the next calls of the model."""
        for live in lives:
            self.rows.append(live.row, live.record.tokens[len(self.rows.context(live.row)) :])
            self.rows.begin_turn(live.row, self._rules.student_tokens)

    def finish(self, lives: Mapping[int, LiveDialogue]) -> list[LiveDialogue]:
        """Waits for the call under way; the turns that ended in it, with their verdicts.

        Args:
          lives: the dialogue of each row.

        Returns:
          Dialogues whose turn has ended; one where something failed is among them, dropped.
        """
        utterances = self.rows.collect()
        ended = [lives[row] for row in utterances]
        said = self._read(ended, list(utterances.values()))
        for one, verdict in zip(said, self._judged(said), strict=True):
            self._judge(one.live, verdict)
        self._put_questions([one for one in said if not one.live.dropped])
        for one in said:
            if not one.live.dropped:
                with drop_on_error(one.live, "writing the student's turn"):
                    self._write(one)
        return ended

    def _read(self, lives: Sequence[LiveDialogue], utterances: Sequence[Utterance]) -> list[_Said]:
        said = []
        for live, utterance in zip(lives, utterances, strict=True):
            with drop_on_error(live, "reading the student's turn"):
                spoken = self._framing.spoken(utterance.tokens)
                live.turns.append(Turn("student", self._framing.utterance(spoken)))
                said.append(_Said(live, utterance, spoken))
        return said

    def _judged(self, said: Sequence[_Said]) -> list[Judged]:
        items = [(one.live.problem, one.live.turns[-1].text) for one in said]
        retries = self._rules.verifier_retries
        if not self._rules.overlap_verification or self._writer is not None:
            return judge(self._task, items, retries)
        with judged_aside(self._task, items, retries) as verdicts:
            heard = {}
            for one in said:
                with drop_on_error(one.live, "writing the student's turn"):
                    heard[one.live.id] = self._framing.teacher_hears(one.spoken)
            reading = [one.live for one in said if one.live.id in heard]
            self._teacher.prefill(reading, [heard[live.id] for live in reading])
            return verdicts()

    def _judge(self, live: LiveDialogue, verdict: Judged) -> None:
        if isinstance(verdict, Unjudged):
            live.drop(VERIFIER, verdict.error)
        elif not live.dropped:
            live.verdicts.append(verdict)

    def _put_questions(self, said: Sequence[_Said]) -> None:
        """Q-priming: questions that take the place of incorrect turns, put into texts and verdicts.

        A question that gives the answer away, or tries one, is left out: private knowledge does not cross.
        """
        if self._writer is None:
            return
        chosen = [one for one in said if not one.live.verdicts[-1].correct and self._writer.chosen(one.live)]
        attempts = {}
        for one in chosen:
            with drop_on_error(one.live, "writing the student's turn"):
                attempts[one.live.id] = self._framing.teacher_hears(one.spoken)
        private = self._teacher.dynamic_knowledge(not_dropped([one.live for one in chosen]))
        chosen = [one for one in chosen if not one.live.dropped]
        if not chosen:
            return
        lives = [one.live for one in chosen]
        written = self._writer.write(lives, [attempts[live.id] for live in lives], [private[live.id] for live in lives])
        questions = []
        for one, utterance in zip(chosen, written, strict=True):
            with drop_on_error(one.live, "reading a question"):
                spoken = self._framing.spoken(utterance.tokens)
                questions.append((one, utterance.ended, spoken, self._framing.utterance(spoken)))
        items = [(one.live.problem, text) for one, _, _, text in questions]
        verdicts = judge(self._task, items, self._rules.verifier_retries)
        for (one, ended, spoken, text), verdict in zip(questions, verdicts, strict=True):
            live = one.live
            if isinstance(verdict, Unjudged):
                live.drop(VERIFIER, f"on a question: {verdict.error}")
                continue
            with drop_on_error(live, "guarding a question"):
                if verdict.attempted or not ended or self._task.leaks(live.problem, text, live.public_text):
                    continue
                live.turns[-1], live.verdicts[-1] = Turn("student", text), verdict
                live.injected_turns.append(len(live.verdicts))
                one.spoken, one.question = spoken, True

    def _write(self, one: _Said) -> None:
        """The turn into the student's record and what the teacher knows."""
        live, turn = one.live, len(one.live.verdicts)
        heard = self._framing.teacher_hears(one.spoken)
        if one.question:
            self.rows.rewind(live.row, len(live.record.tokens))
            live.record.written([*one.spoken, *self._framing.stop_ids[:1]], turn)
        else:
            sampled = one.utterance
            live.record.sampled(sampled.tokens, sampled.logprobs, sampled.sampling_logprobs, turn)
            if not sampled.ended:
                live.truncated += 1
                live.record.given(self._framing.stop_ids[:1])
        live.teacher_context += heard
