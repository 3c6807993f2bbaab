"""The rollout: student and teacher take turns in many dialogues at once, until a correct answer or the turn limit.

Every dialogue goes at its own pace. The two sides' models are called by turns, each for all dialogues that wait for it:
while one side's call runs on the devices, the host reads, judges and writes what the other side said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sml_jax.common.errors import UserError
from sml_jax.dialogue.context_budget import ContextBudget
from sml_jax.dialogue.drops import OVERLONG, check_not_all_dropped, drop_on_error, log_dropped, not_dropped
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.question_writer import QuestionWriter
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.student_side import StudentSide
from sml_jax.dialogue.teacher import RolloutSetup, TeacherSpec
from sml_jax.dialogue.teacher_side import TeacherSide
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.dialogue.transcript import Dialogue, Transcript, transcript
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem, Task

# A model's call ends when half of its dialogues have ended their turn: these go on while the others still speak.
STOP_FRACTION = 0.5
STUDENT, TEACHER, WRITER = 0, 1, 2  # folded into the seed: each side draws from its own keys


@dataclass(frozen=True)
class Played:
    """The result of `play`.

    Attributes:
      transcript: the dialogues as NumPy arrays, for the learner. dialogues: the same ones as text, in the same order.
      forwarded: tokens that went through each side's model, by side ("student", "teacher"), padding aside.
      copied: tokens whose keys and values were copied from another dialogue with the same opening, by side.
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
    teacher: TeacherSpec,
    rules: DialogueRules,
    *,
    seed: int,
    initial_params: dict | None = None,
    first_id: int = 0,
    group_size: int = 1,
    arm: str | None = None,
    store: TeacherStore | None = None,
    progress: Callable[[float, int], None] | None = None,
    between_turns: Callable[[], None] | None = None,
) -> Played:
    """Plays `group_size` dialogues about each problem, as many at once as the engine has rows.

    The dialogues do not depend on how many rows there are, or on which dialogues run together: every random draw comes
    from the seed, the dialogue's id and a position.

    Args:
      task: verifies answers, and has the teacher's private knowledge. problems: of that task.
      framing: writes each side's context as tokens.
      engine: the student's compiled kernels. params: the student's parameters.
      teacher: who answers.
      rules: turn limit, token budgets, leak guard.
      seed: of the run.
      initial_params: parameters of the frozen initial student, which some teachers use; None for `params`.
      first_id: id of the first dialogue; the others have the ids that follow. Use each id only once in a run.
      group_size: dialogues about each problem, which are adjacent in the result.
      arm: a label for the dialogues; None for the teacher's name.
      store: what a run keeps for its teachers between rollouts; None for nothing.
      progress: called in each round with (number of dialogues that are done, number of all). A dialogue under way
        counts as the fraction of its turns that it has taken: most end late, and all at once.
      between_turns: called in each round; an exception that it raises ends the rollout.

    Returns:
      Transcript and dialogues, ordered by problem and then by id. A dialogue that could not be played (its verifier
      failed, or an error came from its problem's text) is among them and marked as dropped; it does not change the
      others.

    Raises:
      UserError: there is no problem, only one for a teacher that knows another, or every dialogue about two or more
        problems was dropped.
    """
    if not problems:
        raise UserError("rollout: there are no problems to talk about: give at least one")
    # Both sides, each with random keys of its own.
    root_key = jax.random.key(seed)
    frozen_params = params if initial_params is None else initial_params
    teacher_key, writer_key, student_key = (jax.random.fold_in(root_key, side) for side in (TEACHER, WRITER, STUDENT))
    setup = RolloutSetup(task, framing, rules, engine, params, frozen_params, teacher_key, store or TeacherStore())
    live_teacher = teacher.make(setup)
    if live_teacher.knows == "other" and len(problems) < 2:
        raise UserError("rollout: a teacher that knows another problem needs at least 2 problems")
    teacher_side = TeacherSide(live_teacher, task, framing, rules)
    writer = None
    if rules.injection is not None:
        writer = QuestionWriter(rules.injection, engine, params, framing, rules.student_tokens, writer_key, seed)
    student_side = StudentSide(engine, params, student_key, task, framing, rules, teacher_side, writer)
    budget = ContextBudget.of(framing, rules, engine, live_teacher)

    # Dialogues are opened in order as rows become free, so that short ones make room early.
    dialogue_count = len(problems) * group_size
    lives: list[LiveDialogue] = []  # all that were opened, in order
    active: list[LiveDialogue] = []  # those that are not over
    free_rows, unopened_indices = list(range(engine.max_concurrent))[::-1], iter(range(dialogue_count))
    logged_drops: set[tuple[str, str]] = set()

    def settle() -> None:
        """Frees the rows of dialogues that are over."""
        ended = [live for live in active if live.over]
        if ended:
            log_dropped(ended, logged_drops)
            free_rows.extend(live.row for live in ended)
            active[:] = [live for live in active if not live.over]

    def open_next() -> list[LiveDialogue]:
        """Opens dialogues in the free rows; those in which the student can speak."""
        opened = []
        while free_rows and (index := next(unopened_indices, None)) is not None:
            group = index // group_size
            other_problem = problems[(group + 1) % len(problems)]
            live = LiveDialogue(first_id + index, group, free_rows.pop(), problems[group], other_problem)
            lives.append(live)
            active.append(live)
            _state_problem(live, framing, teacher_side, budget)
            if not live.over:
                student_side.open(live)
                teacher_side.open(live)
                if writer is not None:
                    writer.open(live)
                opened.append(live)
            settle()
        return opened

    try:
        while active or len(lives) < dialogue_count:
            if between_turns is not None:
                between_turns()
            # 1. The teacher states the problem of the next dialogues, and the student speaks wherever it is its turn.
            student_side.start(open_next())
            by_row = {live.row: live for live in active}
            student_side.dispatch(STOP_FRACTION)
            # 2. While the student's model runs, the teacher's replies are guarded and written to both contexts.
            teacher_side.wait(idle=student_side.idle)
            student_side.start(teacher_side.collect())
            teacher_side.dispatch(STOP_FRACTION)
            # 3. While the teacher's model runs, the student's turns are judged (and perhaps replaced by questions).
            with_new_turn = student_side.collect(by_row)
            # 4. A dialogue ends with a correct answer (unless the teacher wants to go on), at the turn limit, or where
            #    the next exchange has no room.
            for live in not_dropped(with_new_turn):
                solved = live.solved_turn > 0 and live_teacher.ends_when_correct
                live.over = solved or len(live.verdicts) == live.max_turns
                if not live.over and not budget.for_exchange(live):
                    live.over = live.overlong = True
            # 5. In the others the teacher is asked to reply; some teachers have their reply at once.
            teacher_side.start([live for live in with_new_turn if not live.over])
            student_side.start(teacher_side.collect())
            settle()
            if progress is not None:
                turns_taken = sum(len(live.verdicts) / live.max_turns for live in active)
                progress(len(lives) - len(active) + turns_taken, dialogue_count)
    finally:
        live_teacher.close()

    dialogues = tuple(live.to_dialogue(arm or teacher.name) for live in lives)
    if len(problems) > 1:  # one problem alone may be bad without anything being wrong with the run
        check_not_all_dropped(dialogues)
    stacked = transcript(
        [live.student_context for live in lives],
        [live.solved_turn for live in lives],
        [len(live.verdicts) for live in lives],
        [live.group for live in lives],
        [live.dropped != "" for live in lives],
        rules.max_turns * rules.student_tokens,
    )
    return Played(
        stacked,
        dialogues,
        forwarded={"student": student_side.forwarded, "teacher": live_teacher.forwarded},
        copied={"student": student_side.copied, "teacher": live_teacher.copied},
    )


def rollout(
    task: Task,
    problems: Sequence[Problem],
    framing: Framing,
    engine: Engine,
    params: dict,
    teacher: TeacherSpec,
    rules: DialogueRules | None = None,
    *,
    seed: int,
    first_id: int = 0,
    group_size: int = 1,
) -> Transcript:
    """Plays dialogues and returns their Transcript alone, as JAX arrays. For the arguments see `play`.

    Args:
      rules: None for the default `DialogueRules()`.
    """
    rules = rules or DialogueRules()
    played = play(
        task, problems, framing, engine, params, teacher, rules, seed=seed, first_id=first_id, group_size=group_size
    )
    return jax.tree.map(jnp.asarray, played.transcript)


def _state_problem(live: LiveDialogue, framing: Framing, teacher: TeacherSide, budget: ContextBudget) -> None:
    """States the problem to both sides, unless it cannot be written down or leaves no room for a turn."""
    with drop_on_error(live, "opening the dialogue"):
        live.max_turns = teacher.max_turns(live.problem)
        live.open(framing, teacher.static_knowledge(live))
        if not budget.for_turn(live):
            live.drop(
                OVERLONG,
                f"its statement takes {len(live.student_context.tokens)} tokens of the student's context and "
                f"{len(live.teacher_context)} of the teacher's, which leaves no room for a turn: raise max_context",
            )
