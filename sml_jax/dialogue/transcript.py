"""What a rollout leaves: a Transcript of arrays for the learner, and Dialogues for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.struct
import numpy as np

from sml_jax.tasks.problems.types import Turn, Verdict

AnyArray = Any  # np.ndarray as a rollout leaves it, jax.Array within jit


@flax.struct.dataclass
class Transcript:
    """Dialogues as the student saw them: B contexts of up to T tokens, right padded. Padding is told by `length`.

    Attributes:
      tokens: int32 [B, T], the public conversation, exactly as sampled and given.
      length: int32 [B], live tokens.
      student: bool [B, T], tokens that the student uttered, the end of turn it sampled included: what is trained on.
      injected: bool [B, T], those of `student` that a question writer put there (Q-priming); nobody sampled them in
        this context, so they have no log-prob.
      logprob: float32 [B, T], of each sampled token under the student at temperature 1; 0 elsewhere.
      sampling_logprob: float32 [B, T], under the distribution that it was drawn from; 0 elsewhere.
      turn: int32 [B, T], the student's turn, from 1, of `student` tokens; 0 elsewhere.
      reward: float32 [B], 1 for a dialogue that came to a correct answer, else 0.
      solved_turn: int32 [B], the student's first correct turn, from 1; 0 for none.
      turns: int32 [B], turns that the student took.
      group: int32 [B], index of the problem among those given to the rollout.
      dropped: bool [B], dialogues that something failed in: no student token is marked in them, their reward of 0 is
        none, and no mean should count them.
    """

    tokens: AnyArray
    length: AnyArray
    student: AnyArray
    injected: AnyArray
    logprob: AnyArray
    sampling_logprob: AnyArray
    turn: AnyArray
    reward: AnyArray
    solved_turn: AnyArray
    turns: AnyArray
    group: AnyArray
    dropped: AnyArray


@dataclass(frozen=True)
class Dialogue:
    """One dialogue for a reader.

    Attributes:
      problem_id, arm: which problem, against which teacher.
      turns: utterances as text, the teacher's statement first.
      verdicts: of the student's turns, in order.
      solved_turn: the first correct one, from 1; 0 for none.
      tokens: the student's whole context.
      leaks: teacher turns that gave the answer away, regenerated or redacted.
      redactions: those of them that had to be redacted.
      injected_turns: student turns, from 1, that a question took the place of.
      truncated: turns of either side that ran out of budget before they ended.
      unmarked: teacher turns that held no feedback block where one was asked for; sampled again or replaced.
      revealed: for each reply of a language-model user, the number of the shard that it revealed (the question is 1).
      overlong: it ended because a context had no room for the next exchange.
      dropped: why it does not count, opening with "verifier", "problem" or "overlong"; "" for one that counts. The last
        student turn may then be without a verdict.
    """

    problem_id: str
    arm: str
    turns: tuple[Turn, ...]
    verdicts: tuple[Verdict, ...]
    solved_turn: int
    tokens: tuple[int, ...]
    leaks: int = 0
    redactions: int = 0
    injected_turns: tuple[int, ...] = ()
    truncated: int = 0
    unmarked: int = 0
    revealed: tuple[int, ...] = ()
    overlong: bool = False
    dropped: str = ""

    @property
    def teacher_turns(self) -> int:
        """Replies of the teacher, its statement of the problem not counted."""
        return max(sum(turn.role == "teacher" for turn in self.turns) - 1, 0)


class Record:
    """A dialogue's student context while it grows: every token with its part in the Transcript."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.student: list[bool] = []
        self.injected: list[bool] = []
        self.logprob: list[float] = []
        self.sampling_logprob: list[float] = []
        self.turn: list[int] = []

    def given(self, tokens: Sequence[int]) -> None:
        """Appends context: openings, the teacher's tokens, ends that we wrote."""
        self._add(tokens, False, False, [0.0] * len(tokens), [0.0] * len(tokens), 0)

    def sampled(
        self, tokens: Sequence[int], logprob: Sequence[float], sampling_logprob: Sequence[float], turn: int
    ) -> None:
        """Appends what the student sampled in its turn `turn`."""
        self._add(tokens, True, False, logprob, sampling_logprob, turn)

    def written(self, tokens: Sequence[int], turn: int) -> None:
        """Appends a question that was put in place of the student's turn."""
        self._add(tokens, True, True, [0.0] * len(tokens), [0.0] * len(tokens), turn)

    def unmarked(self) -> Record:
        """The same tokens as plain context: nothing in them to be trained on."""
        record = Record()
        record.given(self.tokens)
        return record

    def _add(
        self,
        tokens: Sequence[int],
        student: bool,
        injected: bool,
        logprob: Sequence[float],
        sampling_logprob: Sequence[float],
        turn: int,
    ) -> None:
        n = len(tokens)
        self.tokens += tokens
        self.student += [student] * n
        self.injected += [injected] * n
        self.logprob += logprob
        self.sampling_logprob += sampling_logprob
        self.turn += [turn] * n


def transcript(
    records: Sequence[Record],
    solved_turn: Sequence[int],
    turns: Sequence[int],
    group: Sequence[int],
    dropped: Sequence[bool],
) -> Transcript:
    """Stacks records, padded to the longest."""
    records = [record.unmarked() if out else record for record, out in zip(records, dropped, strict=True)]
    length = np.array([len(record.tokens) for record in records], np.int32)
    time = int(length.max(initial=1))

    def stack(name: str, dtype: type) -> np.ndarray:
        out: np.ndarray = np.zeros((len(records), time), dtype)
        for row, record in zip(out, records, strict=True):
            values = getattr(record, name)
            row[: len(values)] = values
        return out

    solved = np.where(dropped, 0, np.asarray(solved_turn, np.int32)).astype(np.int32)
    return Transcript(
        tokens=stack("tokens", np.int32),
        length=length,
        student=stack("student", bool),
        injected=stack("injected", bool),
        logprob=stack("logprob", np.float32),
        sampling_logprob=stack("sampling_logprob", np.float32),
        turn=stack("turn", np.int32),
        reward=(solved > 0).astype(np.float32),
        solved_turn=solved,
        turns=np.asarray(turns, np.int32),
        group=np.asarray(group, np.int32),
        dropped=np.asarray(dropped, bool),
    )
