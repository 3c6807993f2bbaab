"""The rollout: student and teacher take turns in many dialogues at once, until a correct answer or the turn limit.

Every dialogue goes at its own pace. The two sides' models are called by turns, each for all dialogues that wait for it:
while one side's call runs on the devices, the host reads, judges and writes what the other side said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sml_jax.dialogue.context_budget import ENDLESS, ContextBudget, TurnCosts
from sml_jax.dialogue.drops import OVERLONG, check_some_kept, drop_on_error, not_dropped, warn_of
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.live import LiveDialogue, open_dialogue
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.speakers import QuestionWriter, TeacherSide
from sml_jax.dialogue.student_side import StudentSide
from sml_jax.dialogue.teachers import LanguageTeacher, Teacher
from sml_jax.dialogue.transcript import Dialogue, Transcript, transcript
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.errors import UserError
from sml_jax.tasks.problems.types import Problem, Task

STOP_FRACTION = 0.5  # of a call's dialogues have ended their turn when it ends: so they go on while others still speak
STUDENT, TEACHER, WRITER = 0, 1, 2  # folded into the seed: each side draws from its own keys


@dataclass(frozen=True)
class Played:
    """A rollout's result: arrays for the learner, dialogues for people (same order).

    Attributes:
      forwarded: tokens that went through each side's model. copied: those of openings that another dialogue of the same
        problem had run through it, by side.
    """

    transcript: Transcript
    dialogues: tuple[Dialogue, ...]
    forwarded: dict[str, int]
    copied: dict[str, int]


def play(
    task: Task,
    problems: Sequence[Problem],
    framing: Framing,
    engine: Engine,
    params: dict,
    teacher: Teacher,
    rules: DialogueRules,
    *,
    seed: int,
    first_id: int = 0,
    group_size: int = 1,
    arm: str = "feedback",
    progress: Callable[[int, int], None] | None = None,
    between_turns: Callable[[], None] | None = None,
) -> Played:
    """Plays `group_size` dialogues about each problem.

    Rows are shared out in order; a row whose dialogue has ended takes the next one. The dialogues do not depend on how
    many rows there are, or on when each is served: every draw comes from the seed, the dialogue's id and a position.

    Args:
      task: verifies, and knows what the teacher knows. problems: of that task.
      framing: how each side's context is written.
      engine: the student's compiled kernels. params: the student's.
      teacher: who answers.
      rules: turns, budgets, guards.
      seed: of the run. first_id: of the first dialogue; the others count on. Use ids once in a run.
      group_size: dialogues of each problem, side by side in the result.
      arm: a label for the dialogues.
      progress: called with (dialogues ended, all) as they end.
      between_turns: called between turns; what it raises ends the rollout.

    Returns:
      Transcript (of NumPy arrays) and dialogues, problem by problem. A dialogue whose verifier fails or that one
      problem's text breaks is among them, marked as dropped; the others are as they would have been without it.

    Raises:
      UserError: nothing to play, or every dialogue about two or more problems was dropped.
    """
    if not problems:
        raise UserError("rollout: no problems to talk about")
    if isinstance(teacher, LanguageTeacher) and teacher.knows == "other" and len(problems) < 2:
        raise UserError("rollout: a teacher that knows another problem needs at least 2 problems")
    total = len(problems) * group_size
    root = jax.random.key(seed)
    side = TeacherSide(teacher, task, framing, rules, jax.random.fold_in(root, TEACHER))
    writer = None
    if rules.injection is not None:
        key = jax.random.fold_in(root, WRITER)
        writer = QuestionWriter(rules.injection, engine, params, framing, rules.student_tokens, key, seed)
    rows = ContextBatch(engine, params, jax.random.fold_in(root, STUDENT))
    student = StudentSide(rows, task, framing, rules, side, writer)
    room = _room(framing, rules, engine, teacher)

    lives: list[LiveDialogue] = []
    active: list[LiveDialogue] = []
    free, coming = list(range(engine.max_concurrent))[::-1], iter(range(total))
    warned: set[tuple[str, str]] = set()

    def settle() -> None:
        """Rows whose dialogues are over are free again."""
        over = [live for live in active if live.over]
        if over:
            warn_of(over, warned)
            free.extend(live.row for live in over)
            active[:] = [live for live in active if not live.over]
            if progress is not None:
                progress(len(lives) - len(active), total)

    def opened() -> list[LiveDialogue]:
        """New dialogues in the free rows."""
        new = []
        while free and (index := next(coming, None)) is not None:
            group = index // group_size
            other = problems[(group + 1) % len(problems)]
            live = LiveDialogue(first_id + index, group, free.pop(), problems[group], other)
            lives.append(live)
            active.append(live)
            _open(live, framing, side, room)
            if not live.over:
                student.open(live)
                side.open(live)
                if writer is not None:
                    writer.open(live)
                new.append(live)
            settle()
        return new

    while active or len(lives) < total:
        if between_turns is not None:
            between_turns()
        student.begin(opened())
        at = {live.row: live for live in active}
        rows.dispatch(STOP_FRACTION)
        student.begin(side.finish(at))  # what the teacher's last call said, read while the student's runs
        side.dispatch(STOP_FRACTION)
        said = student.finish(at)  # judged while the teacher's call runs
        for live in not_dropped(said):
            live.over = live.solved_turn > 0 or len(live.verdicts) == live.most_turns
            if not live.over and not room.for_exchange(live):
                live.over = live.overlong = True
        student.begin(side.begin([live for live in said if not live.over]))
        settle()

    dialogues = tuple(live.finished(arm) for live in lives)
    if len(problems) > 1:  # one problem alone may be bad without anything being wrong with the run
        check_some_kept(dialogues)
    forwarded = {"student": rows.forwarded_tokens, "teacher": side.rows.forwarded_tokens if side.rows else 0}
    return Played(
        transcript(
            [live.record for live in lives],
            [live.solved_turn for live in lives],
            [len(live.verdicts) for live in lives],
            [live.group for live in lives],
            [live.dropped != "" for live in lives],
        ),
        dialogues,
        forwarded,
        {"student": rows.copied_tokens, "teacher": side.rows.copied_tokens if side.rows else 0},
    )


def rollout(
    task: Task,
    problems: Sequence[Problem],
    framing: Framing,
    engine: Engine,
    params: dict,
    teacher: Teacher,
    rules: DialogueRules | None = None,
    *,
    seed: int,
    first_id: int = 0,
    group_size: int = 1,
) -> Transcript:
    """`play` for callers who want the arrays alone, as JAX arrays: see there for the arguments."""
    rules = rules or DialogueRules()
    played = play(
        task, problems, framing, engine, params, teacher, rules, seed=seed, first_id=first_id, group_size=group_size
    )
    return jax.tree.map(jnp.asarray, played.transcript)


def _open(live: LiveDialogue, framing: Framing, side: TeacherSide, room: ContextBudget) -> None:
    """The problem is stated to both sides, unless it cannot be or leaves no room for a turn."""
    with drop_on_error(live, "opening the dialogue"):
        live.most_turns = side.turns(live.problem)
        open_dialogue(live, framing, side.static_knowledge(live))
        if not room.for_turn(live):
            live.drop(
                OVERLONG,
                f"its statement takes {len(live.record.tokens)} tokens of the student's context and "
                f"{len(live.teacher_context)} of the teacher's, which leaves no room for a turn: raise max_context",
            )


def _room(framing: Framing, rules: DialogueRules, engine: Engine, teacher: Teacher) -> ContextBudget:
    """What the dialogues may take of each side's context.

    Without `max_context` the engine was made with room for every dialogue. Only a teacher that knows another problem
    may then meet a pair of statement and knowledge that is longer than any that the engine was measured by.
    """
    steps, readers = TurnCosts.under(framing, rules), [engine] if rules.injection is not None else []
    if isinstance(teacher, LanguageTeacher):
        readers.append(teacher.engine)
    teacher_context = min((reader.max_length for reader in readers), default=ENDLESS)
    if rules.max_context is not None:
        teacher_context = min(rules.max_context, teacher_context) if readers else ENDLESS
        return ContextBudget(steps, min(rules.max_context, engine.max_length), teacher_context)
    mixed = isinstance(teacher, LanguageTeacher) and teacher.knows == "other"
    return ContextBudget(steps, teacher_context=teacher_context) if mixed else ContextBudget(steps)
