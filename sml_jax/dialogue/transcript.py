"""The results of a rollout: a Transcript of arrays for the learner, and Dialogues for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.struct
import jax
import numpy as np

from sml_jax.tasks.problems.types import Turn, Verdict

AnyArray = Any  # np.ndarray as a rollout returns it, jax.Array within jit


@flax.struct.dataclass
class Transcript:
    """Dialogues as the student saw them: B contexts of up to T tokens, padded on the right.

    Padding is known by `length`, never by a token's id.

    Attributes:
      tokens: int32 [B, T], the public conversation, exactly as it was sampled and given.
      length: int32 [B], tokens before the padding.
      student: bool [B, T], tokens that the student uttered, which are trained on. The end-of-turn tokens that it
        sampled are among them.
      injected: bool [B, T], those of `student` that Q-priming's question writer put there. Nobody sampled them in
        this context, so they have no log-probability.
      logprob: float32 [B, T], natural log-probability of each sampled token under the student at temperature 1; 0
        elsewhere.
      sampling_logprob: float32 [B, T], the same under the distribution that the token was drawn from (temperature,
        top-k, top-p); 0 elsewhere.
      turn: int32 [B, T], the number of the student's turn, from 1, that a `student` token belongs to; 0 elsewhere.
        Credit by turn weighs tokens by it.
      teacher: bool [B, T], the teacher's replies as the student reads them, each with the end of its turn; neither the
        problem's statement, nor a reply that took the place of a refused one. Critique prediction trains on them.
      reward: float32 [B], 1 for a dialogue that ended with a correct answer, else 0.
      solved_turn: int32 [B], the student's first correct turn, from 1; 0 for none.
      turns: int32 [B], turns that the student took.
      group: int32 [B], index of the problem among those given to the rollout.
      dropped: bool [B], dialogues to ignore (failed verifier, bad problem): no token is marked as the student's, the
        reward is meaningless, and all means leave them out.
      max_student_tokens: the most tokens that the student may utter in a dialogue under the rollout's rules. Static.
      answer_logprob: float32 [B, T], at the student's tokens the log-likelihood of the gold answer as it was before
        their turn, 0 elsewhere. It is measured after the rollout and only for methods with `needs_answer_logprob`;
        otherwise None.
    """

    # The conversation.
    tokens: AnyArray
    length: AnyArray
    # Each token's part in it.
    student: AnyArray
    injected: AnyArray
    logprob: AnyArray
    sampling_logprob: AnyArray
    turn: AnyArray
    teacher: AnyArray
    # The result of each dialogue.
    reward: AnyArray
    solved_turn: AnyArray
    turns: AnyArray
    group: AnyArray
    dropped: AnyArray
    max_student_tokens: int = flax.struct.field(pytree_node=False)
    answer_logprob: AnyArray | None = None


@dataclass(frozen=True)
class Dialogue:
    """One finished dialogue, for people and for statistics.

    Attributes:
      problem_id: which problem it is about. arm: the name of the teacher.
      turns: utterances as text; the first is the teacher's statement of the problem.
      verdicts: the verifier's, on each student turn in order.
      solved_turn: the first correct student turn, from 1; 0 for none.
      tokens: the student's context, from the first token to the last.
      turn_starts: for each student turn, how the student's context stood when the turn began: the number of leading
        tokens of `tokens`, and tokens after these that were rewritten later. See `context_before`.
      leaks: number of teacher turns whose first sample gave the answer away.
      one_steps: number of other teacher turns whose first sample left the student one operation from the answer.
      redactions: number of teacher turns that were replaced, because every sample was refused.
      injected_turns: numbers, from 1, of the student turns that Q-priming replaced by a question.
      truncated: number of turns, of either side, that reached their limit of tokens before they ended.
      unmarked: number of teacher turns whose first sample had no feedback block, or one that a language-model user may
        not say.
      revealed: for each reply of a language-model user, the number of the shard that it revealed (the question is 1).
      overlong: whether it ended because a context had no room for the next exchange.
      dropped: why it is left out of all numbers, beginning with "verifier", "problem", "overlong" or "teacher"; "" if
        it is not. The last student turn of a dropped dialogue may have no verdict.
      domain: the problem's label for reports, "" for none.
      static_knowledge: what the teacher alone knew from the start, "" for nothing.
      dynamic_knowledge: for each reply that the teacher was asked for, what it alone was told before, "" for nothing.
      answer_loglik: the gold answer's log-likelihood in nats after each teacher turn, which an evaluation measures when
        the dialogue is over; NaN for a turn where it could not; () where it was not measured.
    """

    # What was said, and what came of it.
    problem_id: str
    arm: str
    turns: tuple[Turn, ...]
    verdicts: tuple[Verdict, ...]
    solved_turn: int
    tokens: tuple[int, ...]
    turn_starts: tuple[tuple[int, tuple[int, ...]], ...] = ()
    # What the rollout did about it, and what went wrong.
    leaks: int = 0
    one_steps: int = 0
    redactions: int = 0
    injected_turns: tuple[int, ...] = ()
    truncated: int = 0
    unmarked: int = 0
    revealed: tuple[int, ...] = ()
    overlong: bool = False
    dropped: str = ""
    # For people who read the dialogue. What the teacher knew is not part of it: dialogues of the same words are equal.
    domain: str = ""
    static_knowledge: str = field(default="", compare=False)
    dynamic_knowledge: tuple[str, ...] = field(default=(), compare=False)
    answer_loglik: tuple[float, ...] = field(default=(), compare=False)

    @property
    def teacher_turns(self) -> int:
        """The number of the teacher's replies, without its statement of the problem."""
        return max(sum(turn.role == "teacher" for turn in self.turns) - 1, 0)

    def context_before(self, turn: int) -> tuple[int, ...]:
        """The student's context, as tokens, when it began its turn of this number, from 1."""
        length, rewritten = self.turn_starts[turn - 1]
        return (*self.tokens[:length], *rewritten)


class StudentContext:
    """A dialogue's student context while it grows, with what the Transcript says about each token.

    Attributes:
      tokens, student, injected, logprob, sampling_logprob, turn, teacher: lists with an entry for each token; see
        `Transcript`.
      turn_starts: a list with an entry for each student turn; see `Dialogue`.
    """

    def __init__(self) -> None:
        # Lists of one length, by token; their names are those of the Transcript.
        self.tokens: list[int] = []
        self.student: list[bool] = []
        self.injected: list[bool] = []
        self.logprob: list[float] = []
        self.sampling_logprob: list[float] = []
        self.turn: list[int] = []
        self.teacher: list[bool] = []
        self.turn_starts: list[tuple[int, tuple[int, ...]]] = []

    def add_given(self, tokens: Sequence[int]) -> None:
        """Appends tokens that the student did not utter, and that are not trained on.

        They are the opening, the teacher's replies, and ends of turns that the rollout wrote.
        """
        self._add(tokens, False, False, [0.0] * len(tokens), [0.0] * len(tokens), 0)

    def add_reply(self, before: Sequence[int], reply: Sequence[int], after: Sequence[int]) -> None:
        """Appends a reply of the teacher's, which critique prediction trains on, between tokens of the framing.

        Args:
          before: the tokens that open the reply.
          reply: the reply, with the token that ends it if the teacher ended it there.
          after: the other tokens up to the student's next turn.
        """
        self.add_given(before)
        self.add_given(reply)
        self.teacher[len(self.teacher) - len(reply) :] = [True] * len(reply)
        self.add_given(after)

    def add_sampled(
        self, tokens: Sequence[int], logprob: Sequence[float], sampling_logprob: Sequence[float], turn: int
    ) -> None:
        """Appends the tokens that the student sampled in one turn.

        Args:
          tokens: the turn, with its end if that was sampled.
          logprob: for each token, its log-probability at temperature 1.
          sampling_logprob: for each token, its log-probability under the distribution that it was drawn from.
          turn: the number of the student's turn, from 1.
        """
        self.turn_starts.append((len(self.tokens), ()))
        self._add(tokens, True, False, logprob, sampling_logprob, turn)

    def add_injected(self, tokens: Sequence[int], turn: int) -> None:
        """Appends a question that takes the place of a student turn. Its tokens have no log-probabilities.

        Args:
          tokens: the question, with its end.
          turn: the number of the student's turn, from 1.
        """
        self.turn_starts.append((len(self.tokens), ()))
        self._add_question(tokens, turn)

    def rewrite_turn(self, turn: int, opening_tokens: int, tokens: Sequence[int]) -> int:
        """Replaces the last turn of the student's, and the end of what opened it.

        What was sampled is no longer trained on: its log-probabilities are those of another context. A question that
        was put in its place still is.

        Args:
          turn: the number of the turn, whose tokens are the context's last.
          opening_tokens: how many tokens before the turn are taken back too.
          tokens: what stands in their place.

        Returns:
          The index of the first token that was replaced.
        """
        turn_start = self.turn.index(turn)
        was_injected, start = self.injected[turn_start], turn_start - opening_tokens
        self.turn_starts[turn - 1] = start, tuple(self.tokens[start:turn_start])
        for values in (self.tokens, self.student, self.injected, self.turn, self.teacher):
            del values[start:]
        for numbers in (self.logprob, self.sampling_logprob):
            del numbers[start:]
        if was_injected:
            self._add_question(tokens, turn)
        else:
            self.add_given(tokens)
        return start

    def as_given(self) -> StudentContext:
        """A context with the same tokens, none of which counts as the student's: nothing in it is trained on."""
        context = StudentContext()
        context.add_given(self.tokens)
        return context

    def _add_question(self, tokens: Sequence[int], turn: int) -> None:
        """Appends the tokens of a question that was put in place of a student turn."""
        # Nobody sampled the question in this context, so it has no log-probabilities.
        self._add(tokens, True, True, [0.0] * len(tokens), [0.0] * len(tokens), turn)

    def _add(
        self,
        tokens: Sequence[int],
        student: bool,
        injected: bool,
        logprob: Sequence[float],
        sampling_logprob: Sequence[float],
        turn: int,
    ) -> None:
        """Appends tokens that all have the same part in the Transcript."""
        n = len(tokens)
        self.tokens += tokens
        self.student += [student] * n
        self.injected += [injected] * n
        self.logprob += logprob
        self.sampling_logprob += sampling_logprob
        self.turn += [turn] * n
        self.teacher += [False] * n


def transcript(
    contexts: Sequence[StudentContext],
    solved_turn: Sequence[int],
    turns: Sequence[int],
    group: Sequence[int],
    dropped: Sequence[bool],
    max_student_tokens: int,
) -> Transcript:
    """Stacks the student contexts of B dialogues into a Transcript of NumPy arrays, padded to the longest.

    Args:
      contexts: of the dialogues. A dropped one is stacked without any student token.
      solved_turn, turns, group, dropped: one value for each dialogue, see `Transcript`.
      max_student_tokens: see `Transcript`.
    """
    # Nothing in a dropped dialogue may be trained on.
    contexts = [
        context.as_given() if is_dropped else context for context, is_dropped in zip(contexts, dropped, strict=True)
    ]
    length = np.array([len(context.tokens) for context in contexts], np.int32)
    longest = int(length.max(initial=1))

    def stack(name: str, dtype: type) -> np.ndarray:
        # Padding is zeros; readers tell it by `length`.
        stacked: np.ndarray = np.zeros((len(contexts), longest), dtype)
        for row, context in zip(stacked, contexts, strict=True):
            values = getattr(context, name)
            row[: len(values)] = values
        return stacked

    # A dropped dialogue has no result, whatever its last verdict says.
    solved_turns = np.where(dropped, 0, np.asarray(solved_turn, np.int32)).astype(np.int32)
    return Transcript(
        tokens=stack("tokens", np.int32),
        length=length,
        student=stack("student", bool),
        injected=stack("injected", bool),
        logprob=stack("logprob", np.float32),
        sampling_logprob=stack("sampling_logprob", np.float32),
        turn=stack("turn", np.int32),
        teacher=stack("teacher", bool),
        reward=(solved_turns > 0).astype(np.float32),
        solved_turn=solved_turns,
        turns=np.asarray(turns, np.int32),
        group=np.asarray(group, np.int32),
        dropped=np.asarray(dropped, bool),
        max_student_tokens=max_student_tokens,
    )


def dialogues_at(dialogues: Transcript, chosen: np.ndarray) -> Transcript:
    """Some of the dialogues as a Transcript, not shortened.

    Args:
      dialogues: to choose from.
      chosen: int[N], their indices, in the order of the result. Or bool[B], whether each is chosen.
    """
    return jax.tree.map(lambda array: array[chosen], dialogues)


def joined(transcripts: Sequence[Transcript]) -> Transcript:
    """Concatenates NumPy transcripts to one, padded to the longest context.

    `group` is not renumbered: the callers' group numbers must differ between the transcripts.
    """
    longest = max(transcript.tokens.shape[1] for transcript in transcripts)

    def padded(array: np.ndarray) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, longest - array.shape[1]))) if array.ndim == 2 else array

    return jax.tree.map(lambda *arrays: np.concatenate([padded(array) for array in arrays]), *transcripts)
