"""The teacher's side of a rollout: language models with a leak guard, scripted replies, and the question writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from sml_jax.dialogue.drops import VERIFIER, drop_on_error, not_dropped
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.judging import Judged, Unjudged, judge
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.rules import DialogueRules, QuestionInjection
from sml_jax.dialogue.teachers import LanguageTeacher, Teacher
from sml_jax.engine.context_batch import ContextBatch, Utterance
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict


@dataclass(frozen=True)
class Reply:
    """A teacher's turn.

    Attributes:
      whole: its tokens in the teacher's own context, thinking included, the end left out.
      public: what goes to the student. text: the same as text.
      shard: the number of the shard that it reveals, 0 for none.
    """

    whole: list[int]
    public: list[int]
    text: str
    shard: int = 0


class TeacherSide:
    """Speaks for the teacher in every row of a rollout."""

    def __init__(self, teacher: Teacher, task: Task, framing: Framing, rules: DialogueRules, key: jax.Array):
        self._teacher, self._task, self._framing, self._rules = teacher, task, framing, rules
        self.rows = ContextBatch(teacher.engine, teacher.params, key) if isinstance(teacher, LanguageTeacher) else None
        self._draws: dict[int, int] = {}  # by dialogue: how often its reply was drawn before the draw under way

    def turns(self, problem: Problem) -> int:
        """Student turns of a dialogue about this problem, at most."""
        own = self._teacher.turns(problem)
        return self._rules.max_turns if own is None else min(own, self._rules.max_turns)

    def known_problem(self, live: LiveDialogue) -> Problem | None:
        """The problem whose private knowledge this teacher has."""
        if isinstance(self._teacher, LanguageTeacher):
            return {"own": live.problem, "other": live.other, "none": None}[self._teacher.knows]
        return live.problem

    def static_knowledge(self, live: LiveDialogue) -> str:
        known = self.known_problem(live)
        return self._task.static_knowledge(known) if known is not None else ""

    def dynamic_knowledge(self, lives: Sequence[LiveDialogue]) -> dict[int, list[int]]:
        """What each dialogue's teacher learns of the student's latest turn, as tokens by dialogue; maybe none.

        A dialogue where that fails is dropped, and is not in the result.
        """
        known = {live.id: self.known_problem(live) for live in lives}
        verdicts: dict[int, Judged] = {live.id: live.verdicts[-1] for live in lives}
        others = [live for live in lives if known[live.id] is live.other is not live.problem]
        items = [(live.other, live.turns[-1].text) for live in others]
        judged = judge(self._task, items, self._rules.verifier_retries)
        verdicts |= {live.id: verdict for live, verdict in zip(others, judged, strict=True)}
        private = {}
        for live in lives:
            problem, verdict = known[live.id], verdicts[live.id]
            if isinstance(verdict, Unjudged):
                live.drop(VERIFIER, f"on problem {live.other.id}, which the teacher knows: {verdict.error}")
                continue
            with drop_on_error(live, "writing what the teacher learns"):
                text = self._reads(live, problem, verdict) if problem is not None else ""
                private[live.id] = self._framing.teacher_reads(text, self._rules.private_tokens)
        return private

    def _reads(self, live: LiveDialogue, problem: Problem, verdict: Verdict | None) -> str:
        if isinstance(self._teacher, LanguageTeacher):
            return self._teacher.reads(self._task, problem, verdict, live.revealed)
        return self._task.dynamic_knowledge(problem, verdict)

    def open(self, live: LiveDialogue) -> None:
        """Gives the row's context to this dialogue."""
        if self.rows is not None:
            self.rows.start(live.row, live.id, live.teacher_context)

    def prefill(self, lives: Sequence[LiveDialogue], heard: Sequence[list[int]]) -> None:
        """Runs all that the teacher has read through its model, before it is known whether it will have to speak.

        Args:
          heard: for each dialogue, the turn that is about to be added to what the teacher knows.
        """
        if self.rows is not None:
            for live, turn in zip(lives, heard, strict=True):
                self.rows.replace(live.row, [*live.teacher_context, *turn])
            self.rows.prefill([live.row for live in lives])

    def begin(self, lives: Sequence[LiveDialogue]) -> list[LiveDialogue]:
        """Lets the teacher answer in these dialogues: a model in its next calls, a script at once.

        Returns:
          The dialogues that are answered already. One where something fails is dropped.
        """
        private = self.dynamic_knowledge(lives)
        lives = not_dropped(lives)
        for live in lives:
            live.teacher_context += private[live.id]
        if self.rows is not None:
            for live in lives:
                self._draw(live, 0)
            return []
        for live in lives:
            with drop_on_error(live, "the scripted reply"):
                reply = self._within_budget(live, self._scripted(live))
                self._write(live, reply)
        return not_dropped(lives)

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the model for the dialogues that wait for it; see `ContextBatch.dispatch`."""
        if self.rows is not None:
            self.rows.dispatch(stop_fraction)

    def finish(self, lives: Mapping[int, LiveDialogue]) -> list[LiveDialogue]:
        """Waits for the call under way. A reply that leaks, or marks nothing to say, is drawn again, then replaced.

        Args:
          lives: the dialogue of each row.

        Returns:
          Dialogues whose reply is there, in both sides' contexts and in the text.
        """
        ended = [] if self.rows is None else [(lives[row], said) for row, said in self.rows.collect().items()]
        answered = []
        for live, utterance in ended:
            draw, reply = self._draws.pop(live.id), None
            with drop_on_error(live, "reading the teacher's reply"):
                reply = self._guarded(live, utterance, draw)
            if not live.dropped and reply is None:
                if draw < self._rules.guard.regenerations:
                    self._draw(live, draw + 1)
                    continue
                with drop_on_error(live, "replacing the teacher's reply"):
                    live.redactions += 1
                    reply = self._replaced(live)
            if not live.dropped:
                assert reply is not None
                with drop_on_error(live, "writing the teacher's reply"):
                    self._write(live, reply)
                    answered.append(live)
        return answered

    def _draw(self, live: LiveDialogue, draw: int) -> None:
        """Lets the model speak from what it knows now; each draw from the same place is another."""
        assert self.rows is not None
        self._draws[live.id] = draw
        self.rows.replace(live.row, [*live.teacher_context, *self._framing.teacher_begins()])
        self.rows.begin_turn(live.row, self._rules.teacher_tokens, salt=draw)

    def _write(self, live: LiveDialogue, reply: Reply) -> None:
        live.turns.append(Turn("teacher", reply.text))
        live.revealed += [reply.shard] if reply.shard else []
        live.teacher_context += [*self._framing.teacher_begins(), *reply.whole, *self._framing.teacher_ends()]
        live.record.given(self._framing.student_hears(reply.public))

    def _within_budget(self, live: LiveDialogue, text: str) -> Reply:
        """A given text as tokens, cut where a sampled turn would have been cut."""
        tokens = self._framing.text(text)
        if len(tokens) <= self._rules.teacher_tokens:
            return Reply(tokens, tokens, text)
        live.truncated += 1
        tokens = tokens[: self._rules.teacher_tokens]
        return Reply(tokens, tokens, self._framing.utterance(tokens))

    def _scripted(self, live: LiveDialogue) -> str:
        assert not isinstance(self._teacher, LanguageTeacher)
        text = self._teacher.reply(self._task, live.problem, live.turns, live.verdicts[-1])
        if self._teacher.guarded and self._leaks(live, text):
            live.leaks += 1
            live.redactions += 1
            return self._rules.guard.redaction
        return text

    def _leaks(self, live: LiveDialogue, text: str) -> bool:
        """Whether a reply gives the answer away. A shard never does: it is a part of the problem's statement."""
        return self._task.leaks(live.problem, text, "\n".join([live.public_text, *live.problem.shards]))

    def _guarded(self, live: LiveDialogue, utterance: Utterance, draw: int) -> Reply | None:
        """A sampled turn as a reply; None for one that must not be said."""
        reply = self._sampled(live, utterance)
        if reply is None:
            live.unmarked += draw == 0
            return None
        if self._leaks(live, reply.text):
            live.leaks += draw == 0
            return None
        live.truncated += not utterance.ended
        return reply

    def _sampled(self, live: LiveDialogue, utterance: Utterance) -> Reply | None:
        """A sampled turn as a reply; None if it marks nothing that can be said to the student."""
        assert isinstance(self._teacher, LanguageTeacher)
        public = self._framing.feedback(utterance.tokens)
        if public is None:
            return None
        public = public[: self._rules.teacher_tokens]
        marked = self._framing.utterance(public)
        message = self._teacher.message(live.problem, marked, live.revealed)
        if message is None:
            return None
        if message.text != marked:
            public = self._framing.text(message.text)[: self._rules.teacher_tokens]
        return Reply(without_end(utterance), public, message.text, message.shard)

    def _replaced(self, live: LiveDialogue) -> Reply:
        """What the teacher says in place of turns that could not be said."""
        assert isinstance(self._teacher, LanguageTeacher)
        message = self._teacher.instead(live.problem, live.revealed, self._rules.guard.redaction)
        public = self._framing.text(message.text)
        whole = self._framing.text(message.whole) if message.whole else public
        return Reply(whole, public, message.text, message.shard)


class QuestionWriter:
    """Writes the questions of Q-priming with the student's model, in contexts of its own."""

    def __init__(
        self,
        injection: QuestionInjection,
        engine: Engine,
        params: dict,
        framing: Framing,
        limit: int,
        key: jax.Array,
        seed: int,
    ):
        self._injection, self._framing, self._limit, self._seed = injection, framing, limit, seed
        self._rows = ContextBatch(engine, params, key)

    def chosen(self, live: LiveDialogue) -> bool:
        """Whether the dialogue's latest turn, which is incorrect, is to become a question."""
        t = len(live.verdicts) - 1
        draw = np.random.default_rng([self._seed, live.id, t, 0x51]).random()
        return bool(draw < self._injection.decay**t)

    def open(self, live: LiveDialogue) -> None:
        """Gives the row's context to this dialogue."""
        self._rows.start(live.row, live.id, live.teacher_context)

    def write(
        self, lives: Sequence[LiveDialogue], attempts: Sequence[Sequence[int]], private: Sequence[list[int]]
    ) -> list[Utterance]:
        """A question for each dialogue.

        Args:
          lives: dialogues whose `teacher_context` ends before the attempt.
          attempts: the attempt as the teacher hears it.
          private: the verifier's output on it as the teacher reads it.
        """
        for live, attempt, block in zip(lives, attempts, private, strict=True):
            context = [*live.teacher_context, *attempt, *block, *self._framing.asks_question()]
            self._rows.replace(live.row, context)
        return self._rows.sample([live.row for live in lives], self._limit)


def without_end(utterance: Utterance) -> list[int]:
    """Sampled tokens without the end of turn, if there is one."""
    return list(utterance.tokens[:-1] if utterance.ended else utterance.tokens)
