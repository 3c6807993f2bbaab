"""Compares two bare mathematical answers: as numbers, as text, part by part, and by algebra."""

from __future__ import annotations

import re
from collections.abc import Callable

from sml_jax.tasks.math.canonical import canonical, folded, split_parts
from sml_jax.tasks.math.chains import NAME, approximate_sides, digits_and_base, is_consistent
from sml_jax.tasks.math.choices import is_hedged_choice, same_choice
from sml_jax.tasks.math.intervals import as_intervals
from sml_jax.tasks.math.opposites import opposite_words, say_opposites
from sml_jax.tasks.math.unsolved import is_unsolved
from sml_jax.tasks.problems.numbers import answer_number, same_number

Equal = Callable[[str, str], bool]

"""Whether two LaTeX expressions are equal by algebra: (gold, attempt) -> bool."""

_ALGEBRA_CHARACTERS = 2_000
_MAX_PARTS = 12
# Names of functions, which are not words.
_FUNCTION = re.compile(r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|sqrt|max|min|det|inf|infinity|pi|lim|mod")
_SEGMENT = re.compile(
    r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|\$(?![\s$])((?:[^$\\]|\\.)+?)(?<!\s)\$(?![0-9])", re.DOTALL
)
# The label of a choice before the words of the choice.
_STRIP_LABEL = re.compile(r"(?:\(?[A-J]\)[.:]?|[A-J][.:]) +(?=\S)")
# Words that change what stands beside them, so that they cannot be left out.
_HEDGE = re.compile(
    r"\b(?:twice|double|triple|thrice|or|not|nor|never|no|neither|isn't|less|more|greater|fewer|least|most|between|"
    r"except|either|than|plus|minus|"
    r"times|over|divided|factorial|dozens?|halves|quarters?|thirds?|tenths?|squared|cubed|half|percent|if|unless|"
    r"hundred|thousand|million|billion|trillion)\b",
    re.IGNORECASE,
)
_ELSE = re.compile(r"\b(?:or|maybe|perhaps|possibly|not|no|but|either|else)\b", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z][a-z]{2,20}(?: [0-9]{1,2})?|[a-z]{3,20}(?: [a-z]{3,20})?")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z']{2,}")
_SET_BUILDER = re.compile(r"\\\{ ?[a-z](?: ?\\in ?\\mathbb ?\{R\})? ?(?:\\mid(?![A-Za-z])|[|:]) ?([^|{}]*)\\\}")
_BARE_FUNCTION = re.compile(r"(?<![\\A-Za-z])((?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|pi|exp|infty)(?![A-Za-z])")
# "3 and 1/2" is one number where one is asked for; "25g" has a unit that runs into it.
_MIXED = re.compile(r"^([0-9]{1,9}) and ((?:[0-9]{1,4} ?/ ?[0-9]{1,4}|\\frac\{[0-9]{1,4}\}\{[0-9]{1,4}\})\b)")
_GLUED_UNIT = re.compile(r"^([-+]?[0-9][0-9.]{0,30})([gmshLKNJWVCF])$")
# What is worked out on the left of a value: a modulus, a length, the value of a function.
_MEASURE = re.compile(
    r"^ ?(?:\|[^|=]{1,30}\||[A-Za-z]\([^()=]{1,10}\)|[A-Z]{2,3}|(?:\\angle|\\overline) "
    r"?\{?[A-Z]{1,3}\}?) ?$"
)
_IN_LETTERS = re.compile(r"(?=.*[-0-9+*/^(])[-0-9a-z+*/^(){} .]{2,200}")
# "step 6" is no 6.
_REFERENCE = re.compile(
    r"\b(?:step|question|problem|part|line|hint|exercise|door|chapter|example) (?:number |#)?$", re.IGNORECASE
)
_LETTER = re.compile(r"(?<![\\A-Za-z])[a-z](?![A-Za-z])")
_PARAMETER = re.compile(r"(?<![\\A-Za-z])[kmn](?![A-Za-z])")
_CLOCK = re.compile(r"([0-9]{1,2}) ?: ?([0-9]{2})(?: ?([ap])\.? ?m\.?)?", re.IGNORECASE)
_IMAGINARY = re.compile(r"(?<![\\A-Za-z])i(?![A-Za-z])")
_PYTHON_IMAGINARY = re.compile(r"(?<![\\A-Za-z])j(?![A-Za-z])")
_LAST_EQUATION = re.compile(r"(?<![<>!\\])=(?!=)")


def same_answer(gold: str, attempt: str, equal: Equal) -> bool:
    """Whether two answers, without words around them, are the same: as text, as numbers, as lists, or by algebra.

    Args:
      gold: the reference answer.
      attempt: the answer that is judged.
      equal: is called with (gold, attempt) as LaTeX and tells whether they are equal by algebra; see
        `equivalence.TimedEquivalence.equal`.

    Raises:
      TimeoutError: `equal` took too long.
    """
    left, right = canonical(gold), canonical(attempt)
    if not left or not right:
        return False
    if folded(left) == folded(right) != "" or _same_clock(left, right):
        return True
    if _IMAGINARY.search(left) and "j" not in left:
        right = _PYTHON_IMAGINARY.sub("i", right)  # 3+4j
        attempt = _PYTHON_IMAGINARY.sub("i", attempt)
    if _says_first(left, right):
        return True
    # Yes and no, and choices: the words and the labels are compared, or the label of the attempt is cut off.
    chosen = same_choice(left, right)
    if chosen is not None:
        return chosen
    if (_STRIP_LABEL.match(right) and is_hedged_choice(right)) or not is_consistent(
        right, lambda exact, rounded: equal("\\approx " + exact, rounded)
    ):
        return False
    if not left.startswith("(") and _STRIP_LABEL.match(right):
        attempt = re.sub(r"^.*?[A-J]\s*[).:](?:\s*\})?", "", attempt, count=1, flags=re.DOTALL)
        right = canonical(attempt)
    # "1/8, or 12.5%" says one number twice.
    twice = [answer_number(part) for part in split_parts(right)] if " or " in right else []
    if len(twice) == 2 and twice[0] is not None and twice[1] is not None and same_number(twice[0], twice[1]):
        attempt = right = split_parts(right)[0]
    # "2x = 3" is still to be solved.
    sides = _LAST_EQUATION.split(right)
    letters = set(_LETTER.findall(sides[0])) if len(sides) == 2 and "=" not in left else set()
    if len(letters) == 1 and answer_number(left) is not None and is_unsolved(sides[0] + " =", most=1):
        return False
    # "5s + 3s = 8s" simplifies, if that is so.
    if letters and _IN_LETTERS.fullmatch(sides[0]) and letters <= set(_LETTER.findall(sides[1])):
        if not equal(sides[0], sides[1]):
            return False
        attempt = right = sides[1].strip()
    # What stands around equal numbers may contradict, and bases and sets are compared as such.
    if _unlike_times(left, right) or say_opposites(left, right):
        return False
    bases = digits_and_base(left), digits_and_base(right)
    if bases[1] is not None and (bases[0] is not None or bases[1][1] != 10):
        return bases[0] == bases[1]
    if bases[1] is not None:  # 73_{10} is 73
        return folded(left) == folded(bases[1][0])
    sets = as_intervals(left), as_intervals(right)
    if None not in sets and sets[0] == sets[1]:
        return True
    # Numbers: two that differ need no algebra.
    if any(_same_number(left_side, right_side) for left_side, right_side in _side_pairs(left, right)):
        return True
    if answer_number(left) is not None and answer_number(right, letter_units=True) is not None:
        return False
    return _same_mathematics(gold, attempt, equal)


def _says_first(gold: str, attempt: str) -> bool:
    """Whether an attempt is words, and a remark behind the gold words: "Friday, ten days after the Tuesday"."""
    if not _WORDS.fullmatch(gold):
        return False
    head = re.split(r", | ?\(", re.sub(r"(?<=[0-9])(?:st|nd|rd|th)\b", "", attempt), maxsplit=1)
    return len(head) > 1 and folded(head[0]) == folded(gold) and not _ELSE.search(head[1])


def _side_pairs(left: str, right: str) -> list[tuple[str, str]]:
    r"""What to compare where `\approx` says an answer twice: the last sides, or any with the one there is."""
    lefts, rights = approximate_sides(left), approximate_sides(right)
    if len(lefts) > 1 and len(rights) > 1:
        return [(lefts[-1], rights[-1])]
    return [(left_side, right_side) for left_side in lefts for right_side in rights]


def _same_number(gold: str, attempt: str) -> bool:
    """Whether both are one number each, and the same. Of `x = 5` and `2 + 3 = 5` the last side counts."""
    wanted = answer_number(gold)
    if wanted is None and "=" in gold:
        wanted = answer_number(_LAST_EQUATION.split(gold)[-1].strip()) if _has_one_part(gold) else None
        # "x = 5" and "y = 5" are left to the algebra.
        if wanted is not None and "=" in attempt:
            return False
    if wanted is None:
        return False
    given = answer_number(_MIXED.sub(r"\1 \2", _GLUED_UNIT.sub(r"\1 \2", attempt)), letter_units=True)
    if given is None and "=" in attempt and _has_one_part(attempt) and len(_prose(attempt)) <= 8:
        sides = [side.strip() for side in _LAST_EQUATION.split(attempt)]
        said = sides[0] if len(sides) == 2 and NAME.fullmatch(sides[1]) else sides[-1]  # 5 = x
        given = answer_number(_GLUED_UNIT.sub(r"\1 \2", said), letter_units=True)
    return given is not None and same_number(wanted, given)


def _has_one_part(text: str) -> bool:
    return len(split_parts(text)) == 1


def _same_clock(gold: str, attempt: str) -> bool:
    """Whether two times of the day are the same: 15:30 is 3:30 PM, and a gold answer without AM or PM allows either."""
    left, right = _CLOCK.fullmatch(gold), _CLOCK.fullmatch(attempt)
    if left is None or right is None or left[2] != right[2] or bool(left[3]) == bool(right[3]):
        return False
    plain, named = (right, left) if left[3] else (left, right)
    if plain is left and plain[1].lstrip("0") == named[1].lstrip("0"):
        return True
    hours = int(named[1]) % 12 + (12 if named[3].lower() == "p" else 0)
    return (int(plain[1]) > 12 or plain[1].startswith("0")) and int(plain[1]) == hours


def _unlike_times(left: str, right: str) -> bool:
    """Times of the day and ratios ("10:30") that are not written alike; no algebra knows them."""
    return any(re.search(r"[0-9] ?: ?[0-9]", text) for text in (left, right)) and folded(left) != folded(right)


def _same_mathematics(gold: str, attempt: str, equal: Equal) -> bool:
    """Whether two answers agree part by part and by algebra, and no words around them say otherwise."""
    left, left_words = _mathematics(gold)
    right, right_words = _mathematics(attempt)
    if not left or not right or _contradict(left_words, right_words):
        return False
    lefts, rights = split_parts(left), split_parts(right)
    if len(lefts) != len(rights) and len(lefts) == 1 and not re.search(r"[,;]|\\pm|\bor\b|\\cup", left):
        return False  # two answers to one question are a hedge
    if 1 < len(lefts) == len(rights) <= _MAX_PARTS:
        return _match(*_without_names(lefts, rights), equal) or _same_list(gold, attempt, equal)
    name, _, value = right.partition("=")
    name = _MEASURE.sub("m", name)
    if "=" not in left + value and value and NAME.fullmatch(name.strip()) and name.strip() not in ("e", "i"):
        right = value.strip()  # z = 2 - 3i
    right = _same_parameter(left, right)
    for left_side, right_side in _side_pairs(left, right):
        if folded(left_side) == folded(right_side) or equal(left_side, right_side):
            return True
    return _same_list(gold, attempt, equal)


def _same_parameter(gold: str, attempt: str) -> str:
    r"""A family of angles with the gold answer's name for its whole number: `n\pi` as `k\pi`."""
    names = [set(_PARAMETER.findall(text)) for text in (gold, attempt)]
    if "\\pi" not in gold or not len(names[0]) == len(names[1]) == 1:
        return attempt
    return re.sub(rf"(?<![\\A-Za-z]){names[1].pop()}(?![A-Za-z])", names[0].pop(), attempt)


def _same_list(gold: str, attempt: str, equal: Equal) -> bool:
    """Whether two lists agree whose numbers have three digits: "25,100,55" reads as one with thousands' commas."""
    lefts, rights = (split_parts(canonical(text, thousands=False)) for text in (gold, attempt))
    return 2 < len(lefts) == len(rights) <= _MAX_PARTS and _match(lefts, rights, equal)


def _without_names(golds: list[str], attempts: list[str]) -> tuple[list[str], list[str]]:
    """Two lists without the one name that stands before their values: "x = 1, -2" beside "x = 1, x = -2"."""
    names = {
        re.sub(r"(?<=[a-z]) ?_ ?\{? ?[0-9] ?\}?$", "", part.partition("=")[0].strip())
        for part in [*golds, *attempts]
        if "=" in part
    }
    if len(names) != 1 or not NAME.fullmatch(next(iter(names))):
        return golds, attempts
    return [part.rpartition("=")[2].strip() for part in golds], [part.rpartition("=")[2].strip() for part in attempts]


def _match(golds: list[str], attempts: list[str], equal: Equal) -> bool:
    """Whether every gold part has an attempt of its own, in whatever order."""
    unmatched = list(attempts)
    for gold in golds:
        for attempt in unmatched:
            if folded(gold) == folded(attempt) or _same_number(gold, attempt) or _by_algebra(gold, attempt, equal):
                unmatched.remove(attempt)
                break
        else:
            return False
    return True


def _by_algebra(gold: str, attempt: str, equal: Equal) -> bool:
    """Whether two parts are equal by algebra, which is not asked about two plain numbers."""
    if answer_number(gold) is not None and answer_number(attempt) is not None:
        return False
    return equal(gold, attempt)


def _contradict(gold: set[str], attempt: set[str]) -> bool:
    """Whether the words around two equal expressions say opposite things, or other numbers."""
    gold_numbers, attempt_numbers = ({word for word in words if word[-1].isdigit()} for words in (gold, attempt))
    if gold_numbers and gold_numbers != attempt_numbers:
        return True
    return opposite_words(gold, attempt)


def _mathematics(text: str) -> tuple[str, set[str]]:
    """The LaTeX of an answer and the plain words around it; "" where the two cannot be told apart."""
    text = re.sub(r"\$\s*\\(max|min)\s*\$", r"\1", text)
    segments = list(_SEGMENT.finditer(text))
    words: set[str] = set()
    # Dollar signs and their like say which parts are mathematics. Words may stand around these, not between them.
    if segments and not text.strip().startswith("\\boxed"):
        between = _SEGMENT.sub(" \x00 ", text).replace("\\$", " ").replace("$", " ")
        plain = set(word.lower() for word in _WORD.findall(between))
        if plain - {"and", "or"}:
            middle = between[between.index("\x00") : between.rindex("\x00")]
            if _HEDGE.search(between.replace("\x00", "")) or set(_WORD.findall(middle)) - {"and", "or"}:
                return "", words
            words |= plain | set(re.findall(r"[0-9.]*[0-9]", between))
            text = ", ".join(next(filter(None, segment.groups())) for segment in segments)
    # A set's condition is compared without the braces: {x | x > 2} is x > 2.
    text = canonical(text)
    built = _SET_BUILDER.fullmatch(text)
    text = re.sub(r"^[a-z] ?\\in (?=[(\[])", "", built[1] if built and "," not in built[1] else text)
    text, stripped = _strip_words(text)
    words |= stripped
    # Words that are left over inside cannot be told from products of letters.
    remaining = [word for word in _prose(text) if word not in ("and", "or")]
    if remaining or len(text) > _ALGEBRA_CHARACTERS:
        return "", words
    return _ascii_latex(text), words


def _prose(text: str) -> list[str]:
    """Words of three letters or more but for functions' names: math-verify would read them as products of letters."""
    text = re.sub(r"\\(?:begin|end) ?\{[a-z*]+\}(?: ?\{[lcr| ]+\})?", " ", text)
    return [
        word
        for word in re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", text)
        if not _FUNCTION.fullmatch(word.lower()) and not re.fullmatch(r"[A-Z]+|[a-z]?[xyz]{2,3}", word)
    ] + re.findall(r"(?<![\\A-Za-z])(?:or|and)(?![A-Za-z])", text)


def _strip_words(text: str) -> tuple[str, set[str]]:
    """Cuts plain words off both ends ("the plane x + y = 1", "2\\pi square feet"), unless they change the meaning."""
    words: set[str] = set()
    lead = re.match(r"(?:[A-Za-z']{3,}|is|at|on|of|in|by|it|an?(?! ?=)|to)(?: [A-Za-z']{2,}|:| a(?= ))*:? (?=\S)", text)
    # In front: words up to the first that is a function's name.
    if lead and not _HEDGE.search(lead[0]) and not _FUNCTION.fullmatch(lead[0].split()[0].lower().rstrip(":")):
        prose = lead[0]
        while prose and _FUNCTION.fullmatch(prose.split()[-1]):
            prose = prose[: prose.rindex(prose.split()[-1])]
        if _REFERENCE.search(prose):
            return "", words
        words |= {word.lower() for word in _WORD.findall(prose)}
        text = text[len(prose) :]
    # At the end: units and other words after a number, a bracket or a letter.
    tail = re.search(
        r"(?<=[0-9)}\]a-z])(?: \(?(?:[A-Za-z']{2,}|[mgs](?=/))(?:[ /-]+(?:[A-Za-z']+|\([A-Za-z ]*\)))*"
        r"(?:\^ ?\{?-?[1-4]\}?)?\)?)$",
        text,
    )
    if tail and not _HEDGE.search(tail[0]):
        tail_words = _WORD.findall(tail[0])
        if tail_words and not any(_FUNCTION.fullmatch(word.lower()) for word in tail_words):
            words |= {word.lower() for word in tail_words}
            text = text[: tail.start()]
    return text.strip(" ,.:"), words


def _ascii_latex(text: str) -> str:
    """LaTeX for what is written as in a programming language: sqrt(2), 2**3, x^10, <=, sin(x)."""
    if "<" in text or ">" in text:
        text = text.replace("<=", "\\leq ").replace(">=", "\\geq ")
    text = text.replace("!=", "\\neq ").replace("**", "^").replace("{ }^", "^").replace("{}^", "^")
    text = re.sub(r"(?<![\\A-Za-z])sqrt ?\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\sqrt ?\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = _BARE_FUNCTION.sub(r"\\\1 ", re.sub(r"\\log ?_ ?\{? ?e ?\}?(?![A-Za-z])", r"\\ln ", text))
    text = re.sub(r"(?<![\\A-Za-z])(?:infinity|inf|oo)(?![A-Za-z])", r"\\infty ", text)
    text = re.sub(r"(?<=[0-9])[eE]([-+]?[0-9]{1,4})(?![0-9A-Za-z])", r" \\cdot 10^{\1}", text)
    text = re.sub(r"\^ ?(-?[0-9]{2,}|-[0-9A-Za-z])(?![0-9])", r"^{\1}", text)
    text = re.sub(r"\^ ?\(([^()]*)\)", r"^{\1}", text)
    # latex2sympy, which math-verify reads LaTeX with, takes 1/2 x for 1/(2x).
    text = re.sub(r"(?<![\w})^.!\]] )(?<![\w})^.!\]])([0-9]+) ?/ ?([0-9]+) ?(?=[A-Za-z(\\])", r"\\frac{\1}{\2} ", text)
    return re.sub(r"\\exp ?\(([^()]*)\)", r"e^{\1}", text)
