"""The leak guard: any texts get an answer, soon; the answer itself is a leak, other numbers are none; steps to it."""

from __future__ import annotations

import time

from fuzz.campaign import Target
from fuzz.source import MAX_CHARACTERS, Source
from sml_jax.tasks.leaks import leaks, one_step

# Words and signs that the leak test looks for, and program text.
WORDS = (
    *("the answer is", "is", "step", "part", "you should get", "less than", "by", "the", "one half", "a thousand"),
    *("and", "twenty-one", "minus", "hundred", "dozen", "percent", "####", "\\boxed{", "\\frac{", "\\frac", "\\sqrt"),
    *("\\text{", "{", "}", "(", ")", "[", "]", "$", "\\$", "\\(", "^", "**", "*", "/", "=", "+", "-", "±", "%", ","),
    *(".", "1,000", "10^3", "10^", "9", "111", ",111", "1/2", " 3/4", "x", "2x", "\\pi", "√", "½", "²", "⁻", "yes"),
    *("no", "A", "(B)", "def f(x):\n", "    return x\n", "for i in range(n):\n", "import os\n", "while ", " in "),
    *(":", "'", '"', "#", "`", "\x00", "total = total + value * 2\n", "print(", "class ", "from ", "\n", "    "),
)
_CARRIERS = ("So it is {}.", "I found that the answer is {}", "Then you get {} in the end", "{}", "(the answer is {})")
# Time may grow with the length of the texts, but not faster.
_CPU_S_PER_CHARACTER = 2e-5


def _number(source: Source) -> tuple[str, str]:
    """An answer, and another number that is none of its forms."""
    kind = source.integer(0, 5)
    value = source.integer(11, 10 ** source.integer(2, 15) + 11)
    if kind == 0:
        return f"{value:,}", f"{value + 1:,}"
    if kind == 1:
        return f"-{value}", f"-{value + 3}"
    if kind == 2:
        return f"{value}.{source.integer(1, 9)}", f"{value + 1}.5"
    if kind == 3:
        return f"{value}/{2 * value + 1}", f"{value + 2}/{2 * value + 1}"
    if kind == 4:
        return f"\\frac{{{value}}}{{{2 * value + 1}}}", f"\\frac{{{value + 2}}}{{{2 * value + 1}}}"
    return str(value), str(value + 7)


def check(source: Source) -> None:
    """One case."""
    # A number in a sentence leaks; another number in it does not, nor does one that is public.
    if source.flag(3):
        gold, other = _number(source)
        carrier = source.pick(_CARRIERS)
        assert leaks(gold, carrier.format(gold), "find the number"), f"{gold!r} said as {carrier!r} is no leak"
        assert not leaks(gold, carrier.format(other), "find the number"), f"{other!r} said leaks {gold!r}"
        teacher_text = carrier.format(gold)
        low, step = source.integer(11, 10**6), source.integer(11, 10**3)
        assert one_step(str(low + step), f"you are {step} too low", "find the number", [f"I think {low}"])
        assert not leaks(gold, teacher_text, f"I think that the answer is {gold}"), f"{gold!r} leaks, but it is public"
        return
    # Any texts, long ones too, get an answer in time.
    longest = MAX_CHARACTERS if source.flag(4) else 2_000
    gold = source.text(WORDS, 12, longest if source.flag(8) else 200)
    teacher_text, public_text = source.text(WORDS, 30, longest), source.text(WORDS, 20, longest)
    if source.flag(4):
        teacher_text = source.pumped(WORDS, longest)
    elif source.flag(8):
        gold = source.pumped(WORDS, longest)
    if source.flag():
        teacher_text = f"{teacher_text} {gold} {public_text[:100]}"
    start = time.process_time()
    assert isinstance(leaks(gold, teacher_text, public_text), bool)
    assert isinstance(one_step(gold, teacher_text, public_text, [public_text[-1000:]]), bool)
    used, size = time.process_time() - start, len(gold) + len(teacher_text) + len(public_text)
    assert used < 1.0 + _CPU_S_PER_CHARACTER * size, f"{used:.1f} s for {size} characters"


def target() -> Target:
    """The leak guard."""
    return Target("leaks", check, cpu_s=20.0)
