"""The student's side of a rollout: turns sampled, judged, perhaps replaced by a question, and written to both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax

from sml_jax.dialogue.drops import VERIFIER, drop_on_error, not_dropped
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.judging import Judged, Unjudged, judge, judge_in_background
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.question_writer import QuestionWriter
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher_side import TeacherSide
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.turns import Utterance
from sml_jax.tasks.problems.types import Task, Turn


@dataclass
class _StudentTurn:
    """A student's turn that was sampled and is not yet in the contexts.

    Attributes:
      utterance: as it was sampled.
      public: the tokens of it that the teacher reads.
      is_question: whether a question has taken its place; `public` is then the question.
    """

    live: LiveDialogue
    utterance: Utterance
    public: list[int]
    is_question: bool = False


class StudentSide:
    """Speaks for the student in every dialogue of a rollout: samples turns, has them judged, writes them to contexts.

    Args:
      engine, params: the student's model. key: the random key of its samples.
      task: verifies the turns. framing: writes contexts as tokens. rules: token budgets and question injection.
      teacher: reads ahead while turns are judged, and says what the question writer may know.
      writer: writes Q-priming's questions, None for none.
    """

    def __init__(
        self,
        engine: Engine,
        params: dict,
        key: jax.Array,
        task: Task,
        framing: Framing,
        rules: DialogueRules,
        teacher: TeacherSide,
        writer: QuestionWriter | None,
    ):
        engine.limit_vocabulary(framing.tokenizer.vocab_size)
        self._contexts = ContextBatch(engine, params, key)
        self._task, self._framing, self._rules, self._teacher, self._writer = task, framing, rules, teacher, writer

    @property
    def forwarded(self) -> int:
        """Tokens that went through the student's model so far, padding aside."""
        return self._contexts.forwarded_tokens

    @property
    def copied(self) -> int:
        """Tokens whose keys and values were copied from another dialogue with the same opening, so far."""
        return self._contexts.copied_tokens

    @property
    def idle(self) -> bool:
        """Whether no student turn is being sampled."""
        return not self._contexts.active_turns

    def sampled_so_far(self, live: LiveDialogue) -> tuple[int, ...]:
        """The tokens of a dialogue's turn under way, as far as it is sampled; () if none is."""
        return self._contexts.sampled_so_far(live.row)

    def open(self, live: LiveDialogue) -> None:
        """Starts the context in the dialogue's row anew, with the dialogue's student context."""
        self._contexts.start(live.row, live.id, live.student_context.tokens)

    def start(self, lives: Sequence[LiveDialogue]) -> None:
        """Begins a student turn in these dialogues, which the next calls of the model sample.

        Whatever was appended to their student contexts since the last turn is read first.
        """
        for live in lives:
            # A turn that has lost its thinking is read once more.
            if live.reread_from is not None:
                self._contexts.rewind(live.row, live.reread_from)
                live.reread_from = None
            # The model has what it sampled itself, and is given what came after that.
            unread_tokens = live.student_context.tokens[len(self._contexts.context(live.row)) :]
            self._contexts.append(live.row, unread_tokens)
            self._contexts.begin_turn(live.row, self._rules.student_tokens)

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the student's model for all turns that have begun, without waiting for it.

        Args:
          stop_fraction: the call returns when this fraction of the turns has ended; see `ContextBatch.dispatch`.
        """
        self._contexts.dispatch(stop_fraction)

    def collect(self, by_row: Mapping[int, LiveDialogue]) -> list[LiveDialogue]:
        """Waits for the call of the model, judges the turns that ended in it, and writes them to both contexts.

        Args:
          by_row: the dialogue in each row.

        Returns:
          The dialogues whose turn has ended, dropped ones among them: where something failed in one dialogue, it is
            dropped.
        """
        utterances = self._contexts.collect()
        lives = [by_row[row] for row in utterances]
        # 1. Text and verdicts.
        turns = self._read(lives, list(utterances.values()))
        for turn, verdict in zip(turns, self._judged(turns), strict=True):
            self._note_verdict(turn.live, verdict)
        # 2. Q-priming, before anything is written into a context.
        self._inject_questions([turn for turn in turns if not turn.live.dropped])
        # 3. Both sides' contexts.
        for turn in turns:
            if not turn.live.dropped:
                with drop_on_error(turn.live, "writing the student's turn"):
                    self._write(turn)
        return lives

    def _read(self, lives: Sequence[LiveDialogue], utterances: Sequence[Utterance]) -> list[_StudentTurn]:
        """Adds the sampled turns to the conversations as text."""
        turns = []
        for live, utterance in zip(lives, utterances, strict=True):
            with drop_on_error(live, "reading the student's turn"):
                public_tokens = self._framing.spoken(utterance.tokens)
                live.turns.append(Turn("student", self._framing.utterance(public_tokens)))
                turns.append(_StudentTurn(live, utterance, public_tokens))
        return turns

    def _judged(self, turns: Sequence[_StudentTurn]) -> list[Judged]:
        """A verdict on each turn, or why there is none."""
        items = [(turn.live.problem, tuple(turn.live.turns)) for turn in turns]
        retries = self._rules.verifier_retries
        # With a question writer the teacher may never read the turn, so reading ahead would be in vain.
        if not self._rules.overlap_verification or self._writer is not None:
            return judge(self._task, items, retries)
        # While the verifier works, the teacher reads the turns on its devices.
        with judge_in_background(self._task, items, retries) as verdicts:
            turn_tokens = {}
            for turn in turns:
                with drop_on_error(turn.live, "writing the student's turn"):
                    turn_tokens[turn.live.id] = self._framing.teacher_hears(turn.public)
            readable_lives = [turn.live for turn in turns if turn.live.id in turn_tokens]
            self._teacher.prefill(readable_lives, [turn_tokens[live.id] for live in readable_lives])
            return verdicts()

    def _note_verdict(self, live: LiveDialogue, verdict: Judged) -> None:
        """Adds a verdict to its dialogue, or drops the dialogue if there is none."""
        if isinstance(verdict, Unjudged):
            live.drop(VERIFIER, verdict.error)
        elif not live.dropped:
            live.verdicts.append(verdict)

    def _inject_questions(self, turns: Sequence[_StudentTurn]) -> None:
        """Q-priming: some incorrect turns become questions, in the conversations' texts and verdicts.

        A question that gives the answer away, or attempts one, is not used: private knowledge does not cross.
        """
        if self._writer is None:
            return
        # The writer reads the attempt and the verifier's words on it, as the teacher would.
        chosen_turns = [turn for turn in turns if not turn.live.verdicts[-1].correct and self._writer.wants(turn.live)]
        attempt_tokens = {}
        for turn in chosen_turns:
            with drop_on_error(turn.live, "writing the student's turn"):
                attempt_tokens[turn.live.id] = self._framing.teacher_hears(turn.public)
        private = self._teacher.dynamic_knowledge(not_dropped([turn.live for turn in chosen_turns]))
        chosen_turns = [turn for turn in chosen_turns if not turn.live.dropped]
        if not chosen_turns:
            return
        lives = [turn.live for turn in chosen_turns]
        utterances = self._writer.write(
            lives, [attempt_tokens[live.id] for live in lives], [private[live.id][1] for live in lives]
        )
        questions = []
        for turn, utterance in zip(chosen_turns, utterances, strict=True):
            with drop_on_error(turn.live, "reading a question"):
                question_tokens = self._framing.spoken(utterance.tokens)
                questions.append((turn, utterance.ended, question_tokens, self._framing.utterance(question_tokens)))
        # A question is judged like any turn, for the verdicts must be those of what stands in the conversation.
        items = [
            (turn.live.problem, (*turn.live.turns[:-1], Turn("student", question_text)))
            for turn, _, _, question_text in questions
        ]
        verdicts = judge(self._task, items, self._rules.verifier_retries)
        for (turn, ended, question_tokens, question_text), verdict in zip(questions, verdicts, strict=True):
            live = turn.live
            if isinstance(verdict, Unjudged):
                live.drop(VERIFIER, f"on a question: {verdict.error}")
                continue
            with drop_on_error(live, "guarding a question"):
                # A question that was cut at its limit is no question.
                if verdict.attempted or not ended or self._task.leaks(live.problem, question_text, live.public_text):
                    continue
                live.turns[-1], live.verdicts[-1] = Turn("student", question_text), verdict
                live.injected_turns.append(len(live.verdicts))
                turn.public, turn.is_question = question_tokens, True

    def _write(self, turn: _StudentTurn) -> None:
        """Appends the turn to both sides' contexts."""
        live, turn_number = turn.live, len(turn.live.verdicts)
        teacher_tokens = self._framing.teacher_hears(turn.public)
        if turn.is_question:
            # The attempt that was sampled is taken back: the student's context holds the question alone.
            self._contexts.rewind(live.row, len(live.student_context.tokens))
            live.student_context.add_injected([*turn.public, *self._framing.stop_ids[:1]], turn_number)
        else:
            utterance = turn.utterance
            live.student_context.add_sampled(
                utterance.tokens, utterance.logprobs, utterance.sampling_logprobs, turn_number
            )
            if not utterance.ended:
                # Nobody sampled this end, so it is context and not trained on.
                live.truncated += 1
                live.student_context.add_given(self._framing.stop_ids[:1])
        live.teacher_context += teacher_tokens
