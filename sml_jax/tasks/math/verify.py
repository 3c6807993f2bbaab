"""Judges the answer of a mathematics utterance against a gold answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

from sml_jax.tasks.math.canonical import canonical, folded
from sml_jax.tasks.math.choices import is_yes_or_no
from sml_jax.tasks.math.compare import same_answer
from sml_jax.tasks.math.equivalence import TimedEquivalence, worker_count
from sml_jax.tasks.math.extract import ANSWER_CHARACTERS, after_last_marker, extract_answer, final_answer
from sml_jax.tasks.math.opposites import opposite_words
from sml_jax.tasks.problems.numbers import DECIMAL, answer_number
from sml_jax.tasks.problems.types import Verdict

__all__ = ["extract_answer", "final_answer", "verify_math", "verify_math_many"]

# An answer comes at the end.
_UTTERANCE_CHARACTERS = 20_000
_SHOWN_CHARACTERS = 80
_GOES_UP = re.compile(r"\b(?:went|go(?:es|ne|ing)?|is|are|was|were|shot) up\b")
_WORD = re.compile(r"(?<![\\a-z])[a-z]{2,}")


def verify_math(gold: str, utterance: str, unmarked: bool = True) -> Verdict:
    r"""Judges whether an utterance gives the gold answer to a mathematics problem.

    The utterance's answer is what `extract.extract_answer` finds in it, or all of it if it is exactly the gold answer.
    "5 or 6" is a hedge and never correct. Numbers are compared exactly, without currency signs, thousands' commas and
    units. Other answers are compared as text, element by element if they are lists, and, if they are expressions, by
    math-verify (https://github.com/huggingface/Math-Verify) in a process of its own. docs/verifiers.md lists what is
    equal and what is not.

    No text raises an error, and the verdict comes within 5 seconds once that process has started.

    Args:
      gold: the answer, alone or at the end of a solution after `####` (GSM8K, arXiv 2110.14168) or in `\boxed{}`;
        anything beyond 20,000 characters is ignored.
      utterance: what the student said; its last 20,000 characters are read.
      unmarked: whether a value counts that neither a box nor `####` nor a sentence marks as the answer.

    Returns:
      The verdict. `attempted` is False if the utterance gives no answer. `detail` shows a wrong answer, never the gold
      one.

    Raises:
      UserError: math-verify is needed and not installed.
      RuntimeError: its process cannot be started.
    """
    answer = final_answer(gold or "")[:_UTTERANCE_CHARACTERS]
    end_of_utterance = (utterance or "")[-_UTTERANCE_CHARACTERS:]
    attempt = extract_answer(end_of_utterance, unmarked, answer)
    # An utterance that is nothing but the gold answer is right, even where no answer can be told in it.
    if _repeats(answer, end_of_utterance) and (unmarked or attempt is not None):
        return Verdict(correct=True, attempted=True, detail="correct")
    # "Yes." answers a question of the teacher, and only a problem that asks for a yes or a no.
    nods = attempt is not None and is_yes_or_no(attempt) and not is_yes_or_no(answer)
    if attempt is None or (nods and extract_answer(end_of_utterance, unmarked=False) is None):
        return Verdict(correct=False, attempted=False, detail="no answer found")
    if not answer:
        return Verdict(correct=False, attempted=True, detail="wrong")
    try:
        said = same_answer(answer, attempt, TimedEquivalence().equal)
        if said and not _in_opposite_words(answer, attempt, end_of_utterance):
            return Verdict(correct=True, attempted=True, detail="correct")
        outcome = "wrong"
    except TimeoutError:
        outcome = "it could not be judged in time"
    # A wrong attempt is shown in short, unless the gold answer could be read out of it.
    shown = " ".join(attempt.split())
    shown = shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "..."
    return Verdict(
        correct=False, attempted=True, detail=outcome if _holds(shown, answer) else f"attempt {shown}; {outcome}"
    )


def verify_math_many(pairs: Sequence[tuple[str, str]], unmarked: bool = True) -> list[Verdict]:
    """Judges many utterances with `verify_math`, in parallel; equal pairs are judged once.

    Args:
      pairs: n times (gold answer, utterance).
      unmarked: as for `verify_math`.

    Returns:
      n verdicts, in order.

    Raises:
      UserError, RuntimeError: as `verify_math`.
    """
    distinct = list(dict.fromkeys(pairs))  # a group of dialogues often says the same
    if len(distinct) < 2:
        verdicts = [verify_math(pair[0], pair[1], unmarked) for pair in distinct]
    else:
        # A thread for each process of algebra, which it waits for.
        with ThreadPoolExecutor(worker_count()) as threads:
            verdicts = list(threads.map(lambda pair: verify_math(pair[0], pair[1], unmarked), distinct))
    known = dict(zip(distinct, verdicts, strict=True))
    return [known[pair] for pair in pairs]


def _repeats(answer: str, utterance: str) -> bool:
    """Whether an utterance, or what follows its last marker, is the gold answer and nothing else."""
    length = len(answer) + 200
    # Where a box states an answer, the words behind a marker would be a second one.
    full, end = utterance.strip(), "" if "\\boxed" in utterance else after_last_marker(utterance)
    texts = [full] if len(full) <= length else []
    texts += [end] if 0 < len(end) <= length else []
    wanted = folded(canonical(answer)) if texts and len(answer) <= 10 * ANSWER_CHARACTERS else ""
    return wanted != "" and any(folded(canonical(text)) == wanted for text in texts)


def _in_opposite_words(gold: str, attempt: str, utterance: str) -> bool:
    """Whether the sentence around an attempt says the opposite: "He lost $5" where the gold answer is a gain of $5."""
    words = set(_WORD.findall(gold.lower())) - set(_WORD.findall(attempt.lower()))
    place = utterance.rfind(attempt)
    if not words or place < 0:
        return False
    before = re.split(r"[.!?\n] ", utterance[max(0, place - 200) : place])[-1]
    behind = re.split(r"[.!?\n](?: |$)", utterance[place : place + len(attempt) + 100])[0]
    sentence = re.sub(
        r"\b(?:w[ae]nt|go(?:es|ne|ing)?|is|are|was|were|shot) up\b", "increased", (before + behind).lower()
    )
    return opposite_words(words, set(_WORD.findall(sentence)))


def _holds(text: str, gold: str) -> bool:
    """Whether a text holds the gold answer, as a number of its own or as a stretch of text."""
    number = answer_number(canonical(gold))
    if number is None:
        return re.sub(r"\s+", "", canonical(gold)) in re.sub(r"\s+", "", canonical(text))
    return any(abs(number.value) == abs(Fraction(shown)) for shown in re.findall(DECIMAL, canonical(text)))
