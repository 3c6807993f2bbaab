"""One dialogue between a person and a model, turn by turn, by the same rules and in the same tokens as in training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from sml_jax.common.errors import UserError
from sml_jax.dialogue.context_budget import ContextBudget
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.judging import Unjudged, judge
from sml_jax.dialogue.language_teacher import LanguageTeacher
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.records import dialogue_record
from sml_jax.dialogue.rollout import STUDENT, TEACHER
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.student_side import StudentSide
from sml_jax.dialogue.teacher import NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.dialogue.teacher_side import TeacherSide
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem, Role, Task, Turn, Verdict


@dataclass(frozen=True)
class ChatModel:
    """The model that a person talks with.

    Attributes:
      task: verifies turns, and has the private knowledge.
      framing: writes contexts as tokens.
      engine: compiled kernels; its first row is used. params: the model's parameters.
      rules: turn limit and token budgets. Q-priming's questions must be off.
      seed: of what is sampled.
    """

    task: Task
    framing: Framing
    engine: Engine
    params: dict
    rules: DialogueRules
    seed: int = 0


class TypedTeacher(Teacher):
    """The teacher's side where a person has it: its reply is what was typed last.

    Attributes:
      text: that reply.
    """

    guarded = False  # a person may say what they want; the program tells them where it gives the answer away
    in_step = True

    def __init__(self) -> None:
        self.text = ""
        self._ready: dict[int, Reply | NoReply] = {}

    def start(self, requests: Sequence[Request]) -> None:
        """Answers with what was typed."""
        self._ready |= {request.dialogue: Reply(self.text) for request in requests}

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies to all requests since the last call."""
        ready, self._ready = self._ready, {}
        return ready


class ChatDialogue:
    """A dialogue in which a person has one side and the model the other.

    Args:
      model: who the person talks with.
      problem: what the dialogue is about.
      person: the side of the person, "teacher" or "student".
      ids: new numbers for dialogues. One is used for each turn that is sampled anew, so that it comes out otherwise.
      begun: the state of a dialogue about the problem to go on from; None to begin one.

    Attributes:
      live: the state of the dialogue.
    """

    def __init__(
        self,
        model: ChatModel,
        problem: Problem,
        person: Role,
        ids: Iterator[int],
        begun: LiveDialogue | None = None,
    ):
        self._model, self._person, self._ids = model, person, ids
        key = jax.random.key(model.seed)
        engine, params, rules = model.engine, model.params, model.rules
        setup = RolloutSetup(model.task, model.framing, rules, engine, params, params, jax.random.fold_in(key, TEACHER))
        self._typed = TypedTeacher()
        teacher = self._typed if person == "teacher" else LanguageTeacher(engine, params).make(setup)
        self._teacher_side = TeacherSide(teacher, model.task, model.framing, rules)
        # Without a model as the student there is no cache of the student's.
        self._student_side = None
        if person == "teacher":
            student_key = jax.random.fold_in(key, STUDENT)
            self._student_side = StudentSide(
                engine, params, student_key, model.task, model.framing, rules, self._teacher_side, None
            )
        self._budget = ContextBudget.of(model.framing, rules, engine, teacher)
        self._before: LiveDialogue | None = None  # as it was before the latest turn that can be taken back

        self.live = begun or LiveDialogue(0, 0, 0, problem, problem)
        self.live.id = next(ids)
        if begun is None:
            self.live.max_turns = rules.max_turns
            self.live.open(model.framing, model.task.static_knowledge(problem))
        if not self._budget.for_turn(self.live):
            raise UserError("this problem leaves no room for a turn in the model's context: take a shorter one")
        self._reopen()

    @property
    def turns_left(self) -> int:
        """How many more turns the student may take; 0 after a correct one."""
        return 0 if self.live.solved_turn else self.live.max_turns - len(self.live.verdicts)

    @property
    def awaits_student(self) -> bool:
        """Whether it is the student's turn."""
        return self.live.turns[-1].role == "teacher"

    def sample_student_turn(self, show: Callable[[str], None]) -> Verdict:
        """Lets the model take the student's turn.

        Args:
          show: called with each further piece of the turn's text as it is sampled.

        Returns:
          The verifier's verdict.

        Raises:
          UserError: the verifier failed, or the turn could not be read.
        """
        assert self._student_side is not None
        live, framing, side = self.live, self._model.framing, self._student_side
        self._before = copy.deepcopy(live)
        shown, ended = "", False
        side.start([live])
        while not ended:
            side.dispatch(1.0)
            ended = bool(side.collect({live.row: live}))
            # Thinking is not said, and half of a character is not shown before its other half.
            text = live.turns[-1].text if ended else framing.utterance(framing.spoken(side.sampled_so_far(live)))
            steady = text if ended else text.rstrip("\ufffd").rstrip()
            if steady.startswith(shown):
                show(steady[len(shown) :])
                shown = steady
            elif ended:
                # What came later has changed how the beginning reads.
                show(f"\n{text}")
        self._check_not_dropped()
        return live.verdicts[-1]

    def say_as_teacher(self, text: str) -> bool:
        """Takes the person's reply as the teacher.

        Args:
          text: the reply; it is cut at the rules' `teacher_tokens`, as any teacher's.

        Returns:
          Whether it gives the answer away.

        Raises:
          UserError: there is no room for the reply and another turn.
        """
        live, task = self.live, self._model.task
        if not self._budget.for_exchange(live):
            raise UserError("the model's context has no room for a reply and another turn: /problem begins a new one")
        public_text = "\n".join([live.public_text, *live.problem.shards])
        leaks = task.leaks(live.problem, text, public_text)
        live.leaks += leaks
        self._typed.text = text
        self._teacher_side.start([live])
        self._teacher_side.collect()
        self._check_not_dropped()
        return leaks

    def say_as_student(self, text: str) -> Verdict:
        """Takes the person's turn as the student.

        Args:
          text: the turn.

        Returns:
          The verifier's verdict.

        Raises:
          UserError: the turn is too long, or the verifier failed.
        """
        live, framing, rules = self.live, self._model.framing, self._model.rules
        tokens = framing.text(text)
        if len(tokens) > rules.student_tokens:
            raise UserError(f"this turn has {len(tokens)} tokens, and a student's turn at most {rules.student_tokens}")
        conversation = (*live.turns, Turn("student", text))
        verdict = judge(self._model.task, [(live.problem, conversation)], rules.verifier_retries)[0]
        if isinstance(verdict, Unjudged):
            raise UserError(f"the verifier failed: {verdict.error}")
        self._before = copy.deepcopy(live)
        live.turns.append(Turn("student", text))
        live.verdicts.append(verdict)
        # Nobody sampled it, as nobody samples a question of Q-priming.
        live.student_context.add_injected([*tokens, *framing.stop_ids[:1]], len(live.verdicts))
        live.teacher_context += framing.teacher_hears(tokens)
        return verdict

    def sample_teacher_turn(self, show_progress: Callable[[], None]) -> str:
        """Lets the model reply as the teacher.

        Args:
          show_progress: called while the reply is sampled; it is said when the leak guard has read all of it.

        Returns:
          What the student is told.

        Raises:
          UserError: there is no room for the reply and another turn, or it could not be read.
        """
        live, side = self.live, self._teacher_side
        if not self._budget.for_exchange(live):
            raise UserError("the model's context has no room for a reply and another turn: /problem begins a new one")
        side.start([live])
        while not live.over and not side.collect():
            side.dispatch(1.0)
            side.wait(idle=True)
            show_progress()
        self._check_not_dropped()
        return live.turns[-1].text

    def take_back(self) -> bool:
        """Takes back the latest turn that the student took, and what followed it. What is sampled then is new.

        Returns:
          Whether there was one.
        """
        if self._before is None:
            return False
        self.live, self._before = self._before, None
        self.live.id = next(self._ids)
        self._reopen()
        return True

    def before_latest_turn(self) -> ChatDialogue:
        """A new dialogue that goes on from before the student's latest turn.

        It needs nothing of what the model was doing, so it can be had when a call of the model was interrupted.
        """
        before = self.live if self._before is None else self._before
        return ChatDialogue(self._model, self.live.problem, self._person, self._ids, before)

    def record(self, policy: str) -> dict[str, Any]:
        """The dialogue so far as a line of `dialogues.jsonl`.

        Args:
          policy: what plays the student.
        """
        arm = "person" if self._person == "teacher" else "feedback"
        return dialogue_record(self.live.to_dialogue(arm), 0, policy)

    def _reopen(self) -> None:
        """Gives the model the contexts as they are."""
        if self._student_side is not None:
            self._student_side.open(self.live)
        self._teacher_side.open(self.live)

    def _check_not_dropped(self) -> None:
        """Raises a UserError where the dialogue was dropped, which ends it."""
        if self.live.dropped:
            raise UserError(f"this dialogue cannot go on ({self.live.dropped}): /problem begins a new one")
