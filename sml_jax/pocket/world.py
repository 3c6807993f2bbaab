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

from sml_jax.common.errors import UserError
from sml_jax.pocket import language
from sml_jax.pocket.language import Parts
from sml_jax.tasks import ExpressionPool, Problem, Turn, Verdict
from sml_jax.tasks.leaks import leaks, one_step_in_dialogue

TEST_SHARE = 8  # one problem in eight is a test problem
# There are some 700,000 and 100,000 problems. They are drawn until enough different ones are found, which takes longer
# and longer as a split is used up, so a task takes no more than these.
MOST_TRAIN, MOST_TEST = 500_000, 50_000


def split_of(*numbers: int) -> str:
    """The split that a problem belongs to, "train" or "test": a checksum of the numbers that define it decides."""
    return "test" if zlib.crc32(repr(numbers).encode()) % TEST_SHARE == 0 else "train"


def _draw(
    sizes: dict[str, int], split: str, make: Callable[[random.Random], tuple[str, Problem]], seed: str
) -> tuple[Problem, ...]:
    """Draws as many different problems of a split as `sizes` says. `make` draws one and says which split it is of."""
    if split not in sizes:
        raise UserError(f'pocket world: there is no split {split!r}; take "train" or "test"')
    rng = random.Random(f"{seed} {split}")
    problems: dict[str, Problem] = {}
    # Candidates of the other split and repeated ones are thrown away.
    while len(problems) < sizes[split]:
        candidate_split, problem = make(rng)
        if candidate_split == split:
            problems.setdefault(problem.id, problem)
    return tuple(problems.values())


class PocketTask:
    """Base of the pocket world's two tasks: it has their splits and their scripted teacher. Implements `Task`.

    Subclasses make the problems and judge the answers. An answer is made of two digits, its parts.

    Args:
      underspecified: whether the questions lack one fact, which is then the only entry of `Problem.shards`.
      train_size, test_size: how many problems each split has.

    Raises:
      UserError: a size is below 1 or above the most that can be drawn.
    """

    domain = ""
    easy_part = 0  # index of the part that a small model can learn
    answer_format = ""  # what stands before the first digit of every attempt

    def __init__(self, underspecified: bool = False, train_size: int = 50_000, test_size: int = 1_000):
        self.underspecified = underspecified
        self._sizes = {"train": train_size, "test": test_size}
        for split, largest_size in (("train", MOST_TRAIN), ("test", MOST_TEST)):
            if not 1 <= self._sizes[split] <= largest_size:
                raise UserError(
                    f"pocket world: {split}_size is {self._sizes[split]}; give from 1 to {largest_size:,} problems"
                )
        self._problems = cache(lambda split: _draw(self._sizes, split, self._make, f"{self.domain}"))

    @property
    def name(self) -> str:
        """The task's name for `pocket_task`, such as "pocket_math" or "pocket_math_underspecified"."""
        return f"pocket_{self.domain}" + ("_underspecified" if self.underspecified else "")

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of the split "train" or "test": always the same ones in the same order.

        Raises:
          UserError: there is no such split.
        """
        return self._problems(split)

    def draw_train(self, rng: random.Random) -> Problem:
        """Draws any problem that belongs to the train split, not only one of `problems("train")`; `rng` is advanced."""
        # Seven in eight problems are train problems, so few draws are thrown away.
        while True:
            split, problem = self._make(rng)
            if split == "train":
                return problem

    def _make(self, rng: random.Random) -> tuple[str, Problem]:
        """Draws a problem. Returns its split and the problem."""
        raise NotImplementedError

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges utterances.

        Args:
          items: n times (problem, the student's utterance).

        Returns:
          n verdicts, in order.
        """
        raise NotImplementedError

    def truth(self, problem: Problem) -> Parts:
        """The two digits of the problem's right answer."""
        raise NotImplementedError

    def write_attempt(self, parts: Parts) -> str:
        """The utterance in which a student answers with these two digits."""
        raise NotImplementedError

    def read_attempt(self, utterance: str) -> Parts | None:
        """The two digits of an utterance that is an attempt and nothing else; None for any other utterance."""
        raise NotImplementedError

    def static_knowledge(self, problem: Problem) -> str:
        """The private text that the teacher knows from the start; "" for none."""
        raise NotImplementedError

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """The private text that the teacher gets before its next turn; "" for none.

        Args:
          problem: what the dialogue is about.
          verdict: on the latest student turn; None before there is one.
        """
        raise NotImplementedError

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """The scripted teacher's reply to a conversation that ends with the student's turn.

        An attempt is criticised part by part, and a question for a part is answered with a range. The missing fact of
        an underspecified problem is told when the student asks for it, or else with the second reply.

        Args:
          problem: what the dialogue is about.
          conversation: all turns so far.
          verdict: on the last turn.
        """
        utterance = conversation[-1].text
        missing_fact = problem.shards[0] if problem.shards else ""
        if utterance == language.ASK_SECRET:
            return missing_fact or language.NO_SECRET
        # Questions for a part are answered with a range, so that asking helps without giving the digit away.
        part = language.asked_part(utterance)
        if part is not None:
            return language.part_hint(part, self.truth(problem)[part - 1])
        # Everything else is criticised. A student that never asks for the missing fact hears it with the second reply.
        criticism = self._criticise(problem, utterance, verdict)
        teacher_texts = [turn.text for turn in conversation if turn.role == "teacher"]
        fact_is_due = (
            missing_fact
            and len(teacher_texts) >= 2
            and not any(missing_fact in teacher_text for teacher_text in teacher_texts)
        )
        return f"{criticism}, {missing_fact}" if fact_is_due else criticism

    def false_reply(self, problem: Problem, conversation: Sequence[Turn]) -> str:
        """Criticism of a correct attempt that calls one of its two digits wrong; see `HasFalseReply`.

        Which digit is called too low or too high follows from a checksum of the problem and the number of turns.
        """
        guess = self.read_attempt(conversation[-1].text)
        if guess is None:  # an expression that is right but not written like an attempt
            return language.RETRY
        return language.false_feedback(guess, zlib.crc32(f"{problem.id} {len(conversation)}".encode()))

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the teacher's text gives the problem's answer away (see `tasks.leaks.leaks`).

        Args:
          problem: its answer must not be told.
          teacher_text: what the teacher is about to say.
          public_text: all that the student has read or written so far.
        """
        return leaks(problem.answer, teacher_text, public_text)

    def one_step(self, problem: Problem, teacher_text: str, conversation: Sequence[Turn]) -> bool:
        """Whether the student is left one operation from the gold answer (see `tasks.leaks.one_step`)."""
        return one_step_in_dialogue(problem, teacher_text, conversation)

    def gold_utterance(self, problem: Problem, turn: int) -> tuple[str, str]:
        """The right attempt in two pieces, cut before its first digit; see `HasAnswerFormat`."""
        utterance = self.write_attempt(self.truth(problem))
        cut = len(self.answer_format)
        return utterance[:cut], utterance[cut:]

    def _criticise(self, problem: Problem, utterance: str, verdict: Verdict) -> str:
        guess = self.read_attempt(utterance)
        if guess is not None:
            return language.part_feedback(guess, self.truth(problem))
        return language.RETRY if verdict.attempted else language.NO_ANSWER


class PocketMath(PocketTask):
    """Multiply two three-digit numbers; the answer is the product's hundreds digit and its last digit.

    The last digit needs a table of a hundred entries; the hundreds digit needs most of a long multiplication. The
    teacher knows the answer. Arguments: see `PocketTask`.
    """

    domain = "math"
    easy_part = 1
    answer_format = "my answer is "

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
        """(hundreds digit, last digit) of the product."""
        return int(problem.answer[0]), int(problem.answer[1])

    def write_attempt(self, parts: Parts) -> str:
        """The utterance "my answer is 47" for the digits 4 and 7."""
        return f"my answer is {parts[0]}{parts[1]}"

    def read_attempt(self, utterance: str) -> Parts | None:
        """The two digits of an utterance such as "my answer is 47"; None for any other utterance."""
        match = re.fullmatch(r"my answer is ([0-9])([0-9])", utterance)
        return (int(match[1]), int(match[2])) if match else None

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges n (problem, utterance) in order: correct is "my answer is" with the two right digits, no more."""
        # The whole utterance must be one answer: otherwise a student could list every answer there is.
        guesses = [self.read_attempt(utterance) for _, utterance in items]
        return [
            Verdict(guess == self.truth(problem), guess is not None)
            for guess, (problem, _) in zip(guesses, items, strict=True)
        ]

    def static_knowledge(self, problem: Problem) -> str:
        """The answer and, for an underspecified problem, the missing fact."""
        return ", ".join((f"the answer is {problem.answer}", *problem.shards))

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """Always "": the teacher knows the answer from the start."""
        return ""


class PocketCode(PocketTask):
    """Find the expression `10*A+(x//7+B)%10` that fits one example; it is judged by running it.

    A can be read off the example's result; B needs the last digit of a long division. Any expression with the right
    results on `inputs` is right. The teacher knows the verifier's output on the latest attempt, and nothing else.
    Arguments: see `PocketTask`.
    """

    domain = "code"
    answer_format = "my code is 10*"
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
        """(A, B) of the problem's expression."""
        match = re.fullmatch(r"10\*(\d)\+\(x//7\+(\d)\)%10", problem.answer)
        assert match, problem.answer
        return int(match[1]), int(match[2])

    def write_attempt(self, parts: Parts) -> str:
        """The utterance "my code is 10*A+(x//7+B)%10" for the digits (A, B)."""
        return f"my code is 10*{parts[0]}+(x//7+{parts[1]})%10"

    def read_attempt(self, utterance: str) -> Parts | None:
        """(A, B) of an utterance of the form of `write_attempt`; None for any other utterance."""
        match = re.fullmatch(r"my code is 10\*([0-9])\+\(x//7\+([0-9])\)%10", utterance)
        return (int(match[1]), int(match[2])) if match else None

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges n (problem, utterance) in order, by running the expression after "my code is " on `inputs`.

        A verdict's `detail` names the first wrong result with the expected one; the student does not see it.
        """
        prefix = "my code is "
        # Only utterances that hold an expression are run, all of them side by side; the others are no attempts.
        attempts = [i for i, (_, utterance) in enumerate(items) if utterance.startswith(prefix)]
        outputs = self._pool.outputs([items[i][1][len(prefix) :] for i in attempts], self.inputs)
        verdicts = [Verdict(False, False, self._first_expectation(problem)) for problem, _ in items]
        for i, output in zip(attempts, outputs, strict=True):
            verdicts[i] = self._judge(items[i][0], output)
        return verdicts

    def _results(self, problem: Problem) -> list[int]:
        """The right result for each of `inputs`."""
        a, b = self.truth(problem)
        return [10 * a + (x // 7 + b) % 10 for x in self.inputs]

    def _first_expectation(self, problem: Problem) -> str:
        return f"for x = 0 want {self._results(problem)[0]}"

    def _judge(self, problem: Problem, output: list[int] | str) -> Verdict:
        """The verdict on an expression's results, or on the text of the error that it raised."""
        if isinstance(output, str):
            return Verdict(False, True, f"{self._first_expectation(problem)} got an error")
        for x, expected, result in zip(self.inputs, self._results(problem), output, strict=True):
            if expected != result:
                return Verdict(False, True, f"for x = {x} want {expected} got {result}")
        return Verdict(True, True, "all tests pass")

    def static_knowledge(self, problem: Problem) -> str:
        """The missing fact of an underspecified problem; "" for any other."""
        return ", ".join(problem.shards)

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """The verifier's output on the latest attempt; "" before there is one."""
        return verdict.detail if verdict is not None else ""


@cache
def pocket_task(name: str) -> PocketTask:
    """The task called `name`: "pocket_math", "pocket_code", or either with "_underspecified" at its end.

    The same name gives the same object, so that its problems are drawn once.

    Raises:
      UserError: there is no task of that name.
    """
    tasks = {"pocket_math": PocketMath, "pocket_code": PocketCode}
    base_name = name.removesuffix("_underspecified")
    if base_name not in tasks:
        raise UserError(f"there is no pocket task {name!r}; take one of {sorted(tasks)}, or add _underspecified")
    return tasks[base_name](underspecified=name != base_name)
