"""The teacher's side of a rollout: what any teacher is told, and what becomes of its replies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sml_jax.common.own_code import own_code
from sml_jax.dialogue.drops import VERIFIER, drop_on_error, not_dropped
from sml_jax.dialogue.framing import Framing, around_reply
from sml_jax.dialogue.judging import Judged, Unjudged, judge
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import NoReply, Reply, Request, Teacher
from sml_jax.distributed.processes import broadcast, is_primary
from sml_jax.tasks.problems.types import Problem, Task, Turn, leaves_one_step


class TeacherSide:
    """Speaks for a teacher in every dialogue of a rollout, and guards its replies.

    Args:
      teacher: the live teacher of the rollout.
      task: has the private knowledge, and tells whether a reply leaks.
      framing: writes contexts as tokens. rules: token budgets and the leak guard.
    """

    def __init__(self, teacher: Teacher, task: Task, framing: Framing, rules: DialogueRules):
        self._teacher, self._task, self._framing, self._rules = teacher, task, framing, rules
        # A teacher whose replies may differ between processes lives in process 0 alone, which tells the others.
        self._asks = teacher.in_step or is_primary()
        # Every process knows who waits, whoever asks the teacher: all must make the same calls of the models.
        self._waiting: dict[int, tuple[LiveDialogue, Request]] = {}  # by dialogue id

    def max_turns(self, problem: Problem) -> int:
        """The largest number of student turns in a dialogue about this problem."""
        teacher_turns = self._teacher.turns(problem)
        return self._rules.max_turns if teacher_turns is None else min(teacher_turns, self._rules.max_turns)

    def known_problem(self, live: LiveDialogue) -> Problem | None:
        """The problem whose private knowledge the teacher has in this dialogue; None if it has none."""
        return {"own": live.problem, "other": live.other_problem, "none": None}[self._teacher.knows]

    def static_knowledge(self, live: LiveDialogue) -> str:
        """What the teacher alone knows from the start of this dialogue, "" for nothing."""
        known_problem = self.known_problem(live)
        return self._task.static_knowledge(known_problem) if known_problem is not None else ""

    def dynamic_knowledge(self, lives: Sequence[LiveDialogue]) -> dict[int, tuple[str, list[int]]]:
        """What the teacher, and not the student, learns about the student's latest turn.

        Args:
          lives: dialogues with a verdict on their latest turn.

        Returns:
          By dialogue id the text, and the tokens to append to the teacher's context, which may hold less of it. Where
          something fails the dialogue is dropped and has no entry.
        """
        known_problems = {live.id: self.known_problem(live) for live in lives}
        verdicts: dict[int, Judged] = {live.id: live.verdicts[-1] for live in lives}
        # A teacher that knows another problem reads the verdict on the student's turn as an answer to that one.
        misled_dialogues = [live for live in lives if known_problems[live.id] is live.other_problem is not live.problem]
        items = [(live.other_problem, tuple(live.turns)) for live in misled_dialogues]
        judged = judge(self._task, items, self._rules.verifier_retries)
        verdicts |= {live.id: verdict for live, verdict in zip(misled_dialogues, judged, strict=True)}
        private = {}
        for live in lives:
            problem, verdict = known_problems[live.id], verdicts[live.id]
            if isinstance(verdict, Unjudged):
                live.drop(VERIFIER, f"on problem {live.other_problem.id}, which the teacher knows: {verdict.error}")
                continue
            # A long text of the verifier is cut to the rules' `private_tokens`.
            with drop_on_error(live, "writing what the teacher learns"):
                private_text = (
                    "" if problem is None else self._teacher.reads(self._task, problem, verdict, live.revealed)
                )
                tokens = self._framing.teacher_reads(private_text, self._rules.private_tokens)
                private[live.id] = private_text, tokens
        return private

    def open(self, live: LiveDialogue) -> None:
        """Tells the teacher that this dialogue begins."""
        if self._asks:
            self._teacher.open(live.id, live.row, live.teacher_context)

    def prefill(self, lives: Sequence[LiveDialogue], student_turns: Sequence[list[int]]) -> None:
        """Lets the teacher read the student's turns before it is known whether it will have to reply.

        Args:
          lives: dialogues whose `teacher_context` does not hold the student's latest turn yet.
          student_turns: for each dialogue, the turn's tokens that will be appended to its `teacher_context`.
        """
        pairs = zip(lives, student_turns, strict=True)
        if self._asks:
            self._teacher.prefill({live.row: [*live.teacher_context, *turn] for live, turn in pairs})

    def start(self, lives: Sequence[LiveDialogue]) -> None:
        """Asks the teacher for a reply in each of these dialogues, without waiting for it.

        What the teacher alone learns about the student's turn is appended to its context first. Where that fails the
        dialogue is dropped.
        """
        private = self.dynamic_knowledge(lives)
        requests = []
        for live in not_dropped(lives):
            # Private knowledge enters the teacher's context here, and nowhere else after the opening.
            private_text, private_tokens = private[live.id]
            live.teacher_context += private_tokens
            live.dynamic_knowledge.append(private_text)
            request = Request(
                dialogue=live.id,
                row=live.row,
                problem=live.problem,
                turns=tuple(live.turns),
                verdict=live.verdicts[-1],
                static_knowledge=live.static_knowledge,
                dynamic_knowledge=private_text,
                context=tuple(live.teacher_context),
                student_context=tuple(live.student_context.tokens),
                revealed=tuple(live.revealed),
                known_problem=self.known_problem(live),
            )
            self._waiting[live.id] = live, request
            requests.append(request)
        self._ask(requests)

    def wait(self, idle: bool) -> None:
        """Waits for the teacher's call under way, or for a reply if the student has nothing to do.

        Args:
          idle: whether the student has nothing to do; see `Teacher.wait`.
        """
        if self._asks:
            self._teacher.wait(idle and bool(self._waiting))

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the teacher's model, if it has one, for the dialogues that wait for a reply.

        Args:
          stop_fraction: the call returns when this fraction of the replies has ended; see `ContextBatch.dispatch`.
        """
        if self._asks:
            self._teacher.dispatch(stop_fraction)

    def collect(self) -> list[LiveDialogue]:
        """Writes the replies that are ready into both sides' contexts and into the public conversation.

        A reply that leaks, or that holds nothing for the student, is asked for again or replaced.

        Returns:
          The dialogues that were answered. Where something failed the dialogue is dropped and left out.
        """
        answered, repeated_requests = [], []
        for dialogue_id, reply in self._collected().items():
            # 1. A reply that could not be made ends its dialogue.
            live, request = self._waiting.pop(dialogue_id)
            if isinstance(reply, NoReply):
                live.drop(reply.kind, reply.error)
                continue
            # 2. The leak guard reads what is about to be said to the student.
            sayable = False
            with drop_on_error(live, "guarding the teacher's reply"):
                sayable = self._passes(live, reply, request.draw)
            if live.dropped:
                continue
            # 3. A refused reply is asked for again, if that can help, and otherwise replaced.
            replaced = False
            if not sayable:
                if self._teacher.redraws and request.draw < self._rules.guard.regenerations:
                    request = dataclasses.replace(request, draw=request.draw + 1)
                    self._waiting[dialogue_id] = live, request
                    repeated_requests.append(request)
                    continue
                with drop_on_error(live, "replacing the teacher's reply"):
                    live.redactions += 1
                    replaced = True
                    reply = self._teacher.replacement(live.problem, live.revealed, self._rules.guard.redaction)
            # 4. The reply joins the conversation.
            if not live.dropped:
                with drop_on_error(live, "writing the teacher's reply"):
                    self._write(live, reply, replaced)
                    answered.append(live)
        self._ask(repeated_requests)
        return answered

    def _ask(self, requests: Sequence[Request]) -> None:
        """Hands requests to the teacher, in the processes that ask it."""
        if self._asks and requests:
            with own_code("asking the teacher"):
                self._teacher.start(requests)

    def _collected(self) -> Mapping[int, Reply | NoReply]:
        """The replies that are ready, the same ones in every process."""
        if not self._waiting:
            return {}
        ready: Mapping[int, Reply | NoReply] = {}
        if self._asks:
            with own_code("collecting the teacher's replies"):
                ready = self._teacher.collect()
        if self._teacher.in_step:
            return ready
        # Which replies are ready depends on time, so process 0 decides for all.
        return {dialogue_id: _from_json(values) for dialogue_id, values in broadcast(_to_json(ready))}

    def _passes(self, live: LiveDialogue, reply: Reply, draw: int) -> bool:
        """Whether a reply may be said to the student.

        A leak or a missing feedback block is counted for the first reply to a turn only.

        Args:
          draw: how many replies to this turn were refused before.
        """
        if reply.text is None:
            live.unmarked += draw == 0
            return False
        # A fact of the statement never gives the answer away, though it is told late.
        public_text = "\n".join([live.public_text, *live.problem.shards])
        if self._teacher.guarded and self._task.leaks(live.problem, reply.text, public_text):
            live.leaks += draw == 0
            return False
        # People teach with such turns too, so whether they may be said is for the recipe to decide.
        if self._teacher.guarded and leaves_one_step(self._task, live.problem, reply.text, live.turns):
            live.one_steps += draw == 0
            return not self._rules.guard.refuse_one_step
        return True

    def _write(self, live: LiveDialogue, reply: Reply, replaced: bool) -> None:
        """Appends a reply to the conversation and to both sides' contexts.

        Args:
          replaced: whether `reply` stands in place of one that was refused; then it is not marked as the teacher's.
        """
        text, tokens, truncated = reply.text or "", reply.tokens, reply.truncated
        if tokens is None:
            # A given text is cut where a sampled turn would have been cut.
            tokens = tuple(self._framing.text(text))
            if len(tokens) > self._rules.teacher_tokens:
                truncated, tokens = True, tokens[: self._rules.teacher_tokens]
                text = self._framing.utterance(tokens)
        own_tokens = tokens if reply.context_tokens is None else reply.context_tokens
        live.truncated += truncated
        live.turns.append(Turn("teacher", text))
        live.revealed += [reply.fact] if reply.fact else []
        opening = self._framing.teacher_begins()
        # Some formats take back what a side has thought once the other has answered.
        rewritten = self._framing.earlier_turn(own_tokens)
        if rewritten is not None:
            opening, own_tokens = opening[: len(opening) - rewritten[0]], tuple(rewritten[1])
        live.teacher_context += [*opening, *own_tokens, *self._framing.teacher_ends()]
        live.take_back_thinking(self._framing)
        before, after = around_reply(self._framing)
        # The token that ends the reply belongs to it, unless a cut reply was ended for the teacher.
        ends = not truncated and after[:1] != [] and after[0] in self._framing.stop_ids
        if replaced:
            live.student_context.add_given([*before, *tokens, *after])
        else:
            live.student_context.add_reply(before, [*tokens, *after[:ends]], after[ends:])


_TOKENS = ("tokens", "context_tokens")  # tuples, which JSON makes lists


def _to_json(replies: Mapping[int, Reply | NoReply]) -> list[tuple[int, dict]]:
    return [(dialogue_id, dataclasses.asdict(reply)) for dialogue_id, reply in replies.items()]


def _from_json(fields: dict[str, Any]) -> Reply | NoReply:
    if "error" in fields:
        return NoReply(**fields)
    token_fields = {name: value if value is None else tuple(value) for name, value in fields.items() if name in _TOKENS}
    return Reply(**{**fields, **token_fields})
