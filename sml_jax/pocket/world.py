"""The pocket world's two domains as tasks: `pocket_math` and `pocket_code`.

Both ask for two digits of which one is easy and one is beyond a small model, so that feedback is what helps; they share
the language of feedback and nothing else. Problems are drawn by a fixed seed; a checksum of a problem's numbers decides
its split, so train and test are disjoint by construction.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Sequence
from functools import cache

from sml_jax.errors import UserError
from sml_jax.pocket import language
from sml_jax.pocket.language import Parts
from sml_jax.tasks import ExpressionPool
from sml_jax.tasks.problems.types import Problem, Turn, Verdict

TEST_SHARE = 8  # one problem in eight is a test problem
MOST_TRAIN, MOST_TEST = 500_000, 50_000  # of some 700,000 and 100,000: drawing the last ones would take for ever


def split_of(*numbers: int) -> str:
    """ "train" or "test", by a checksum of the numbers that make a problem."""
    return "test" if zlib.crc32(repr(numbers).encode()) % TEST_SHARE == 0 else "train"


def _draw(
    sizes: dict[str, int], split: str, make: Callable[[random.Random], tuple[str, Problem]], seed: str
) -> tuple[Problem, ...]:
    if split not in sizes:
        raise UserError(f'pocket world: there is no split {split!r}; take "train" or "test"')
    rng = random.Random(f"{seed} {split}")
    found: dict[str, Problem] = {}
    while len(found) < sizes[split]:
        where, problem = make(rng)
        if where == split:
            found.setdefault(problem.id, problem)
    return tuple(found.values())


class PocketTask:
    """What both domains share: sizes, splits, and the scripted teacher.

    Args:
      underspecified: the question lacks one fact, which is the problem's one shard.
      train_size, test_size: how many problems each split has.
    """

    domain = ""
    easy_part = 0  # index of the part that a small model can learn

    def __init__(self, underspecified: bool = False, train_size: int = 50_000, test_size: int = 1_000):
        self.underspecified = underspecified
        self._sizes = {"train": train_size, "test": test_size}
        for split, most in (("train", MOST_TRAIN), ("test", MOST_TEST)):
            if not 1 <= self._sizes[split] <= most:
                raise UserError(f"pocket world: {split}_size is {self._sizes[split]}; give from 1 to {most:,} problems")
        self._problems = cache(lambda split: _draw(self._sizes, split, self._make, f"{self.domain}"))

    @property
    def name(self) -> str:
        return f"pocket_{self.domain}" + ("_underspecified" if self.underspecified else "")

    def problems(self, split: str) -> Sequence[Problem]:
        return self._problems(split)

    def draw_train(self, rng: random.Random) -> Problem:
        """A fresh train problem from the whole space, for the base model's text."""
        while True:
            split, problem = self._make(rng)
            if split == "train":
                return problem

    def _make(self, rng: random.Random) -> tuple[str, Problem]:
        raise NotImplementedError

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        raise NotImplementedError

    def truth(self, problem: Problem) -> Parts:
        """The two digits that the answer is made of."""
        raise NotImplementedError

    def attempt(self, parts: Parts) -> str:
        """The utterance that answers with these parts."""
        raise NotImplementedError

    def guessed(self, utterance: str) -> Parts | None:
        """The parts of an attempt, None for anything else."""
        raise NotImplementedError

    def static_knowledge(self, problem: Problem) -> str:
        raise NotImplementedError

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        raise NotImplementedError

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """The scripted teacher: criticism part by part, a range for a question, the missing fact when asked or late."""
        said = conversation[-1].text
        shard = problem.shards[0] if problem.shards else ""
        if said == language.ASK_SECRET:
            return shard or language.NO_SECRET
        part = language.asked_part(said)
        if part is not None:
            return language.part_hint(part, self.truth(problem)[part - 1])
        answer = self._criticise(problem, said, verdict)
        told = any(shard in turn.text for turn in conversation if turn.role == "teacher")
        replies = sum(turn.role == "teacher" for turn in conversation)
        return f"{answer}, {shard}" if shard and not told and replies >= 2 else answer

    def _criticise(self, problem: Problem, said: str, verdict: Verdict) -> str:
        guess = self.guessed(said)
        if guess is not None:
            return language.feedback(guess, self.truth(problem))
        return language.RETRY if verdict.attempted else language.NO_ANSWER


class PocketMath(PocketTask):
    """Multiply two three-digit numbers; the answer is the product's hundreds digit and its last digit.

    The last digit needs a table of a hundred entries; the hundreds digit needs most of a long multiplication.
    """

    domain = "math"
    easy_part = 1

    def _make(self, rng: random.Random) -> tuple[str, Problem]:
        a, b = rng.randint(100, 999), rng.randint(100, 999)
        product = a * b
        second = "a secret number" if self.underspecified else str(b)
        problem = Problem(
            id=f"{self.name}-{a}-{b}",
            question=f"multiply {a} by {second} and keep the hundreds digit and the last digit",
            answer=f"{product // 100 % 10}{product % 10}",
            shards=(f"the secret number is {b}",) if self.underspecified else (),
            domain=self.domain,
        )
        return split_of(*sorted((a, b))), problem

    def truth(self, problem: Problem) -> Parts:
        return int(problem.answer[0]), int(problem.answer[1])

    def attempt(self, parts: Parts) -> str:
        return f"my answer is {parts[0]}{parts[1]}"

    def guessed(self, utterance: str) -> Parts | None:
        match = re.fullmatch(r"my answer is ([0-9])([0-9])", utterance)
        return (int(match[1]), int(match[2])) if match else None

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        # The whole utterance must be the answer: listing several is no attempt.
        guesses = [self.guessed(utterance) for _, utterance in items]
        return [
            Verdict(guess == self.truth(problem), guess is not None)
            for guess, (problem, _) in zip(guesses, items, strict=True)
        ]

    def static_knowledge(self, problem: Problem) -> str:
        return ", ".join((f"the answer is {problem.answer}", *problem.shards))

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        return ""


class PocketCode(PocketTask):
    """Find the expression `10*A+(x//7+B)%10` that fits one example; it is judged by running it.

    A stands in the example's result; B needs the last digit of a long division. Any expression with the right results
    on the test inputs is right. What the teacher knows is the verifier's output on the latest attempt.
    """

    domain = "code"
    inputs = (0, 7, 13, 100, 86_399)

    def __init__(self, underspecified: bool = False, train_size: int = 50_000, test_size: int = 1_000):
        super().__init__(underspecified, train_size, test_size)
        self._pool = ExpressionPool()

    def _make(self, rng: random.Random) -> tuple[str, Problem]:
        x, a, b = rng.randint(10_000, 99_999), rng.randint(1, 9), rng.randint(0, 9)
        y = 10 * a + (x // 7 + b) % 10
        result = "a secret number" if self.underspecified else str(y)
        problem = Problem(
            id=f"{self.name}-{x}-{y}",
            question=f"find code for f({x}) = {result}",
            answer=f"10*{a}+(x//7+{b})%10",
            shards=(f"the secret number is {y}",) if self.underspecified else (),
            domain=self.domain,
        )
        return split_of(x), problem

    def truth(self, problem: Problem) -> Parts:
        match = re.fullmatch(r"10\*(\d)\+\(x//7\+(\d)\)%10", problem.answer)
        assert match, problem.answer
        return int(match[1]), int(match[2])

    def attempt(self, parts: Parts) -> str:
        return f"my code is 10*{parts[0]}+(x//7+{parts[1]})%10"

    def guessed(self, utterance: str) -> Parts | None:
        match = re.fullmatch(r"my code is 10\*([0-9])\+\(x//7\+([0-9])\)%10", utterance)
        return (int(match[1]), int(match[2])) if match else None

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        prefix = "my code is "
        tried = [i for i, (_, utterance) in enumerate(items) if utterance.startswith(prefix)]
        outputs = self._pool.outputs([items[i][1][len(prefix) :] for i in tried], self.inputs)
        verdicts = [Verdict(False, False, self._wanted(problem)) for problem, _ in items]
        for i, got in zip(tried, outputs, strict=True):
            verdicts[i] = self._judge(items[i][0], got)
        return verdicts

    def _results(self, problem: Problem) -> list[int]:
        a, b = self.truth(problem)
        return [10 * a + (x // 7 + b) % 10 for x in self.inputs]

    def _wanted(self, problem: Problem) -> str:
        return f"for x = 0 want {self._results(problem)[0]}"

    def _judge(self, problem: Problem, got: list[int] | str) -> Verdict:
        if isinstance(got, str):
            return Verdict(False, True, f"{self._wanted(problem)} got an error")
        for x, want, has in zip(self.inputs, self._results(problem), got, strict=True):
            if want != has:
                return Verdict(False, True, f"for x = {x} want {want} got {has}")
        return Verdict(True, True, "all tests pass")

    def static_knowledge(self, problem: Problem) -> str:
        return ", ".join(problem.shards)

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        return verdict.detail if verdict is not None else ""


@cache
def pocket_task(name: str) -> PocketTask:
    """The pocket task called `name`: "pocket_math", "pocket_code", or either with "_underspecified" at its end."""
    tasks = {"pocket_math": PocketMath, "pocket_code": PocketCode}
    base = name.removesuffix("_underspecified")
    if base not in tasks:
        raise UserError(f"there is no pocket task {name!r}; take one of {sorted(tasks)}, or add _underspecified")
    return tasks[base](underspecified=name != base)
