"""`verify_math` and `verify_math_many` as a whole, with the processes of algebra behind them."""

from __future__ import annotations

import time

from fuzz.campaign import Target
from fuzz.source import Source
from fuzz.targets.math_text import WORDS
from sml_jax.tasks.math.canonical import canonical, folded
from sml_jax.tasks.math.equivalence import shared_pool
from sml_jax.tasks.math.extract import final_answer
from sml_jax.tasks.math.verify import verify_math, verify_math_many

# LaTeX that math-verify reads, and parts of it that it cannot.
_ALGEBRA = (
    *("x", "y", "n", "k", "2", "3", "10", "0", "\\pi", "e", "i", "+", "-", "*", "/", "^", "^{2}", "^{", "_", "{"),
    *("}", "(", ")", "[", "]", "\\sqrt{", "\\frac{", "}{", "\\left(", "\\right)", "\\infty", "\\cup", "\\sin"),
    *("\\log_", "\\sum_{k=1}^", "\\int_0^", "dx", "\\lim_{x \\to 0}", "=", "<", "\\leq", "\\geq", "\\neq", ",", ";"),
    *("!", "\\binom{", "\\cdot", "\\times", "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "&", "|", "\\{", "\\}"),
    *("\\in", "\\mathbb{R}", "f(x)", "99999999", "1e9", "%"),
)
_CLOCK_S = 120.0  # the promise is 5, once its processes have started, on a machine of one's own


def check(source: Source) -> None:
    """One case."""
    words = _ALGEBRA if source.flag() else WORDS
    gold, utterance = source.text(words, 14, 300), source.text((*words, *WORDS[:12]), 20, 600)
    if source.flag():
        utterance = f"{utterance} \\boxed{{{source.text(words, 12, 200)}}}"
    # Several pairs are judged side by side; the last is the first again.
    pairs = [(gold, utterance)]
    if source.flag(4):
        pairs += [(gold, source.text(words, 8, 200)), (utterance[:100], utterance), (gold, utterance)]
    start = time.monotonic()
    verdicts = verify_math_many(pairs)
    elapsed = time.monotonic() - start
    assert elapsed < _CLOCK_S * len(pairs), f"{elapsed:.1f} s"
    assert len(verdicts) == len(pairs)
    for verdict in verdicts:
        assert verdict.attempted or not verdict.correct, "correct and not attempted"
        assert verdict.detail and len(verdict.detail) < 200 and "\n" not in verdict.detail, repr(verdict.detail)
    if len(pairs) > 1:
        assert verdicts[0] == verdicts[3]
    # Every answer that has a spelling at all is its own answer.
    answer = final_answer(gold)
    if folded(canonical(answer)):
        assert verify_math(gold, answer).correct, f"{answer!r} is not its own answer"


def target() -> Target:
    """The mathematics verifier."""
    return Target("math", check, cpu_s=30.0, close=lambda: shared_pool().close())
