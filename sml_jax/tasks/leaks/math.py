"""Expressions in running text: the same formula in LaTeX, Unicode or as typed, with its terms in any order."""

from __future__ import annotations

import re
from itertools import permutations

_FUNCTIONS = {"sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "pi", "infty", "cup", "cap"}
_FUNCTIONS |= {"arcsin", "arccos", "arctan", "root"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SYMBOLS = {
    "π": " pi ",
    "∞": " infty ",
    "infinity": " infty ",
    "\u222a": " cup ",
    "·": "*",
    "\u00d7": "*",
    "\u2212": "-",
    "\u2013": "-",
    "≤": "<=",
    "≥": ">=",
    "±": "\\pm ",
    "**": "^",
}
_SYMBOL = re.compile("|".join(re.escape(symbol) for symbol in _SYMBOLS))
_MAX_TERMS = 3  # of a sum whose terms are looked for in every order
_MAX_CHARACTERS = 300  # of an answer


def holds_expression(text: str, gold: str) -> bool:
    """Whether a text has an expression in it: "2x + 3", "3+2x" and "$3 + 2x$" have "2x+3", but "12x+3" has not.

    Of an equation such as "y = 2x - 1" the right side alone is enough.

    Args:
      text: any text.
      gold: the expression to look for. If it is prose or a single number, the result is False.
    """
    if len(gold) > _MAX_CHARACTERS or not (forms := _forms(gold)):
        return False
    typed_text = _typed(text)
    for form in forms:
        for match in re.finditer(_pattern(form), typed_text):
            # A part of a longer expression is another expression.
            before, after = typed_text[: match.start()][-8:], typed_text[match.end() :][:8]
            if not (_ends_with_operator(before) or _starts_with_operator(after)):
                return True
    return False


def _forms(gold: str) -> list[str]:
    """The ways to type an expression, without spaces: its sides, their terms in any order; [] for any other answer."""
    typed = re.sub(r"\s+", " ", _typed(gold)).strip(" .")
    words = re.findall(r"[a-z]{2,}", typed)
    if not re.search(r"[-+/^()=\[\],]|\d ?[a-z]|[a-z]{2}", typed) or any(not _is_function(word) for word in words):
        return []
    # The right side of "y = 2x - 1" counts too, unless it is a single number or letter.
    tight = typed.replace(" ", "")
    left, equals, right = tight.rpartition("=")
    sides = [tight]
    if equals and re.fullmatch(r"[a-z](?:\([a-z]\))?", left) and not re.fullmatch(r"\w", right):
        sides.append(right)
    if any(re.fullmatch(r"[-+\d.,]*|\w", side) for side in sides[:1]):
        return []  # numbers and single letters are not expressions
    return [form for side in sides if not re.fullmatch(r"[-+\d.,]*", side) for form in _orders(side)]


def _is_function(word: str) -> bool:
    """Whether letters are a function's name, or a product of one with letters: "xsin", "dx" count, words do not."""
    letters = re.sub("|".join(sorted(_FUNCTIONS, key=len, reverse=True)), "", word)
    return len(letters) <= (2 if letters == word else 1)


def _orders(expression: str) -> list[str]:
    """The expression and, for a short sum, its other orders."""
    terms = _terms(expression)
    if not 2 <= len(terms) <= _MAX_TERMS:
        return [expression]
    return [expression, *("".join(order).removeprefix("+") for order in permutations(terms))]


def _terms(expression: str) -> list[str]:
    """The terms of a sum, each with its sign; the expression alone where it is not a sum."""
    if re.search(r"[,=<>;]", expression):
        return [expression]
    terms, depth, term = [], 0, ""
    for i, symbol in enumerate(expression):
        depth += (symbol in "([") - (symbol in ")]")
        if symbol in "+-" and depth == 0 and term and expression[i - 1] not in "^/*+-":
            terms.append(term)
            term = ""
        term += symbol
    terms.append(term)
    return [term if term[0] in "+-" else f"+{term}" for term in terms]


def _pattern(form: str) -> str:
    """A regular expression for a form with spaces anywhere, and not within a longer word or number."""
    before = r"(?<![\w.^])" if form[0].isalnum() else ""
    after = r"(?![\w^])" if form[-1].isalnum() else ""
    return before + " ?".join(re.escape(symbol) for symbol in form) + after


def _ends_with_operator(before: str) -> bool:
    return re.search(r"[\w)] ?[-+*/^] ?$", before) is not None


def _starts_with_operator(after: str) -> bool:
    return re.match(r" ?[-+*/^] ?(?:\d|[a-z](?![a-z])|\(|sqrt|pi)|\.\d", after) is not None


def _typed(text: str) -> str:
    """LaTeX and Unicode as one would type it: `\\dfrac{\\sqrt{3}}{4}` becomes "sqrt(3)/4"."""
    # Unicode first, then LaTeX's spacing and operators.
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: "^" + m[0].translate(_SUPERSCRIPTS), text.casefold())
    text = _SYMBOL.sub(lambda m: _SYMBOLS[m[0]], text)
    text = re.sub(r"√ ?(\w+|(?=\())", lambda m: f"sqrt({m[1]})" if m[1] else "sqrt", text)
    text = re.sub(
        r"\\(?:left|right|displaystyle|mathrm|text|boxed)(?![a-z])|\\[,;:!() ]|\\(?=[\[\]$%])|\$|`", " ", text
    )
    text = re.sub(r"\\(?:cdot|times)(?![a-z])", "*", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\frac ?(\d) ?(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt ?(\w)", r"\\sqrt{\1}", text)
    # Roots and fractions, from the inside out.
    for _ in range(3):
        text = re.sub(
            r"\\sqrt ?(?:\[(\d)\])? ?\{([^{}]{0,80})\}", lambda m: f" {'root' + m[1] if m[1] else 'sqrt'}({m[2]})", text
        )
        text = re.sub(r"\\frac ?\{([^{}]{0,80})\} ?\{([^{}]{0,80})\}", r"((\1)/(\2))", text)
    text = text.replace("{", "(").replace("}", ")").replace("\\", " ")
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ?([-+*/^()=,<>]) ?", r"\1", text)
    # Brackets that change nothing, such as those around one number.
    for _ in range(2):
        text = re.sub(r"(?<![\w)])\((\w+|sqrt\(\w+\))\)(?!\^)", r"\1", text)
        text = re.sub(r"(?<=\^)\((\w+)\)", r"\1", text)
        text = re.sub(r"(?<![\w)^/])\((\w+|sqrt\(\w+\))/(\w+|sqrt\(\w+\))\)(?![\w(^])", r"\1/\2", text)
    return re.sub(r"(?<=[\w)])\*(?=[a-z(])", "", text)
