r"""Puts a plain number in the place of every value that is written otherwise, so that sentences are read in one way.

What a sentence says of a value does not depend on how the value is written: "She has 3n + 2 left", "It ends at 3:45",
"It must be (D)". The rules that tell whether a sentence states its number (`unmarked`) know plain numbers only. Here
expressions, formulas, numbers of other bases, powers of ten, labels of choices and words get numbers of five digits
that the text does not hold, and what the rules return is written back.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sml_jax.tasks.problems.number_words import BELOW_100

_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,20}|[0-9]{1,60})(?:\.[0-9]{1,60})?"
_FRACTION_SIGNS = "\u00bc-\u00be\u2150-\u215e"
_WRITTEN = re.compile(
    # Powers of ten: "3.2e5", "3.2 x 10^5", "3.2 * 10\u2075".
    rf"(?<![\w.,]){_DECIMAL}(?:[eE][-+]?[0-9]{{1,3}}(?!\w)| ?(?:[x*\u00d7\u00b7]|\\times|\\cdot) ?10(?: ?(?:\^|\*\*) ?"
    r"(?:\{ ?-?[0-9]{1,3} ?\}|\(? ?-?[0-9]{1,3} ?\)?)|[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]{1,4})(?!\w))|"
    # Numbers of other bases, and with the sign of a fraction.
    r"(?<![\w.,])(?=[A-F]{0,60}[0-9])[0-9A-F]{1,60}(?:_\{?(?:[0-9]{1,2}|[a-z]{3,8})\}?|[\u2080-\u2089]{1,2}| \(?(?:in "
    r")?base[ -]"
    r"(?:[0-9]{1,2}|[a-z]{3,8})\)?)(?!\w)|"
    rf"(?<![\w.,])[0-9]{{0,9}} ?[{_FRACTION_SIGNS}]|"
    rf"(?<![\w.,]){_DECIMAL} and [0-9]{{1,2}}/[0-9]{{1,2}}(?![\w/])|"
    rf"(?<![\w.,])(?:{_DECIMAL} (?:times )?)?(?:the )?square root (?:of )?-?{_DECIMAL}(?!\w)|(?<![\w.,]){_DECIMAL} "
    rf"pi\b|(?<![\w.,]){_DECIMAL} root "
    rf"{_DECIMAL}(?!\w)|"
    # Both signs, and infinity.
    rf"(?<![0-9)] )(?<![0-9)a-z])(?:\u00b1|\+/-|\bplus or minus\b) ?{_DECIMAL}(?!\w|\.\w)|"
    r"(?<![\w-])(?:(?:negative|minus|positive|plus) |[-+])?(?:infinity\b|\u221e)",
    re.IGNORECASE,
)
_TIMES = re.compile(
    r"\b[0-9]{1,2}:[0-9]{2}\b(?: ?[ap]\.? ?m\b\.?(?=\w|[ ,;!?)]|$))?|\b[0-9]{1,2} ?[ap]\.?m\b", re.IGNORECASE
)
_RATIO = re.compile(r"(?<![\w.])([0-9]{1,6}) to ([0-9]{1,6})(?![\w.]\w)")
_ONE = rf"(?:[a-zA-Z](?:_?[0-9])?(?: ?= ?| is ))?[-+]?[$]?{_DECIMAL}(?:/[0-9]{{1,9}})?%?(?![\w.:]\w)"
_LISTED = rf"{_ONE}(?:(?:, (?:and |or |& )?| and | or | & |; ?|,){_ONE}){{1,20}}"
_LIST = re.compile(rf"\\?\{{{_LISTED}\\?\}}|(?<![\w.,$/^*+=({{\[\\-])(?:[Ee]ither )?{_LISTED}(?![\]}})])")
_BRACKETS = re.compile(r"\s*(?:\\left ?)?\\?[(\[{][^()\[\]]*,[^()\[\]]*[)\]}]\s*")
_FORMULA = re.compile(
    r"\$\$(?=[^\s$])([^$]{1,400})\$\$|(?<![\\$])\$(?=[^\s$])((?:[^$\n\\]|\\.){1,300}?)(?<!\s)\$(?![0-9])|"
    r"\\\(((?:(?!\\\)).){1,300})\\\)|\\\[((?:(?!\\\]).){1,400})\\\]",
    re.DOTALL,
)
_IN_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|operatorname|textbf) ?\{[^{}]{0,80}\}")
_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}")
# What has a value that is no plain number: a command that is no operation, an expression in letters, a pair.
_NOT_PLAIN = re.compile(
    r"\\(?!times|cdot|div|\$|%|text|mathrm|left|right|[ ,;!])[A-Za-z]{2,}|[0-9)}] ?[A-Za-z]|[A-Za-z)}] ?[-+*/^<>]|"
    r"[-+*/<>] ?[A-Za-z(]|[,_^\u221e\u03c0\u221a]"
)
_EQUALS = re.compile(r"(?<![<>!:\\=])=(?![=>])")
_ONLY_NAME = re.compile(r"\s*(?:[A-Za-z]{1,3}(?:_\{?\w{1,3}\}?)?'?(?:\([A-Za-z]\))?|\\[a-z]{2,12} ?[A-Z]{0,4})\s*")

# An expression in plain text, piece by piece.
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3}){1,20}|[0-9]{1,60})(?:\.[0-9]{1,60})?|\.[0-9]{1,60})|"
    r"(?P<word>[A-Za-z]+(?:['\u2019][A-Za-z]+)*|[\u03c0\u221a])|(?P<relation><=|>=|[<>\u2264\u2265])|"
    r"(?P<sign>[-+/^\u00b7\u00d7*\u00b1])|(?P<power>[\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u207b]+)|(?P<opens>\()|"
    r"(?P<closes>\))|(?P<space>[ ])|(?P<other>.)",
    re.DOTALL,
)
_NAMES = frozenset({"sqrt", "pi", "sin", "cos", "tan", "log", "ln", "exp", "\u03c0", "\u221a"})
# Most texts have no such value, and a look for its signs is far quicker than the patterns above.
_MAY_HOLD_EXPRESSION = re.compile(
    r"[0-9)][a-z](?![A-Za-z'\u2019])|(?<![A-Za-z'\u2019])[a-z] ?[-+*/^<>=(\u2264\u2265\u00b7\u00d7\u00b2\u00b3]|"
    r"[-+*/^<>(\u2264\u2265\u00b7\u00d7\u00b1] ?[a-z](?![A-Za-z'\u2019])|[\u03c0\u221a]"
)
_MAY_BE_WRITTEN = re.compile(r"[0-9][eE][-+0-9]|10 ?[\^*]|and [0-9]{1,2}/")
_MARKS = ("_", "+/-", "lus or minus", "nfinity", "base", "root", " pi")
_RELATION = re.compile(r"[<>\u2264\u2265]|\\(?:[lg]eq?|[lg]eqslant|neq?)(?![A-Za-z])")
# "9.8 m/s", "12 m^2"
_UNIT = re.compile(r"[mgslhk](?:\^?-?[0-9]|[\u00b2\u00b3])?(?: ?[/\u00b7] ?[a-z](?:\^?-?[0-9]|[\u00b2\u00b3])?)*")
_AMOUNT = re.compile(r"[0-9] ?(?:[a-z]{1,3} )?\Z")
_LEFT_SIDE = re.compile(r" ?(?:=|\u2248|\\approx)")
_VARIABLE = re.compile(r"(?<![A-Za-z\\'\u2019])[a-z](?![A-Za-z'\u2019])")
_AMOUNTS = (
    r"[0-9]{1,9} ?(?:hours?|hrs?|h|minutes?|mins?|days?|feet|foot|ft|pounds?|lbs?),? (?:and )?[0-9]{1,9} ?(?:minutes?|"
    r"mins?|m|"
    r"hours?|hrs?|h|seconds?|secs?|s|inch(?:es)?|in|ounces?|oz)"
)
_COUNT = rf"([0-9]{{1,6}}|{'|'.join(BELOW_100)})"
_SHARE = re.compile(rf"(?<![\w.]){_COUNT} (?:out of|in)(?: every)? {_COUNT}(?![\w.]\w| [a-z]{{3}})", re.IGNORECASE)
_SIGNS = {"less": "<", "smaller": "<", "greater": ">", "more": ">", "larger": ">", "bigger": ">", "at": ">="}
_WORDED_RELATION = re.compile(
    rf"\b([a-z]) (?:is|must be|has to be|should be) (less than|smaller than|greater than|more than|larger than|bigger "
    rf"than|"
    rf"at least) (-?{_DECIMAL})(?!\w| or)"
)
_MOST = 200  # values of a text


class StandIns:
    """A text in which numbers stand for some values.

    Attributes:
      text: the text with the numbers.
      prefix: the two digits that its numbers begin with.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        taken = set(re.findall(r"(?=([0-9]{2})[0-9]{3})", text))
        self.prefix = next((f"{prefix}" for prefix in range(70, 100) if f"{prefix}" not in taken), "")
        self._values: list[str] = []

    def stand_in(self, value: str) -> str:
        """A number that stands for a value; the value itself where no number is free."""
        if not self.prefix or len(self._values) >= _MOST:
            return value
        self._values.append(value)
        return f"{self.prefix}{len(self._values) - 1:03d}"

    def put_back(self, text: str) -> str:
        """A text with the values in the places of their numbers."""
        for at in range(len(self._values) - 1, -1, -1):
            text = text.replace(f"{self.prefix}{at:03d}", self._values[at])
        return text

    def replace(self, pattern: re.Pattern[str], value: Callable[[re.Match[str]], str | None] | None = None) -> None:
        """Puts numbers for all matches of a pattern; `value` gives what one stands for, None to leave it."""

        def replaced(match: re.Match[str]) -> str:
            stands_for = match[0] if value is None else value(match)
            return match[0] if stands_for is None else self.stand_in(stands_for)

        self.text = pattern.sub(replaced, self.text)


def expressions(text: str, gold: str) -> StandIns:
    """A text with numbers for its formulas and expressions, of which those left of a "=" stay.

    Args:
      text: an utterance.
      gold: the gold answer: times, ratios and lists of numbers are values only where it is one.
    """
    read = StandIns(text)
    if ":" in gold:
        read.replace(_TIMES)
        read.replace(_RATIO, lambda ratio: f"{ratio[1]}:{ratio[2]}")
    amounts = re.fullmatch(rf"\$?{_AMOUNTS}\$?", gold)
    if amounts:
        read.replace(re.compile(rf"(?<![\w.]){_AMOUNTS}(?!\w)"))
    if re.search(r"frac|/|\.|%", gold):  # "2 out of 5" is a share only where one is asked for
        read.replace(_SHARE, lambda share: f"{_digits(share[1])}/{_digits(share[2])}")
    if _RELATION.search(gold):
        read.replace(_WORDED_RELATION, lambda said: f"{said[1]} {_SIGNS[said[2].split()[0].lower()]} {said[3]}")
    # Where an expression is asked for, "5s + 3s - 1 = 8s - 1" simplifies one, and is no equation to solve.
    simplifies = _VARIABLE.search(gold) is not None and "=" not in gold
    if "$" in text or "\\" in text:
        read.text = _FORMULA.sub(lambda formula: _formula(formula, read, simplifies), read.text)
    lowered = read.text.lower()
    if not text.isascii() or any(mark in lowered for mark in _MARKS) or _MAY_BE_WRITTEN.search(lowered):
        read.replace(_WRITTEN)
    if _MAY_HOLD_EXPRESSION.search(read.text):
        read.text = _without_expressions(read, simplifies)
    _join_relations(read)
    if re.search(r"[0-9}] ?(?:,|;|and\b|or\b|\\pm)", gold):
        read.replace(
            _LIST, lambda listed: re.sub("^[Ee]ither ", "", listed[0]).replace(" is ", " = ").replace(" & ", ", ")
        )
    if re.fullmatch(r"\$?[a-z]\$?", gold):  # a letter alone is a value only where it is asked for
        read.replace(re.compile(rf"(?<=(?:s|=) ){gold.strip('$')}(?=[.!]?\s*$)"))
    return read


def _digits(number: str) -> str:
    """A number below a hundred in digits."""
    return str(BELOW_100.get(number.lower(), number))


def _formula(formula: re.Match[str], read: StandIns, simplifies: bool) -> str:
    """A formula with a number for its last side, unless that is a plain number or no value."""
    content = next(filter(None, formula.groups()))
    if _LONG_WORD.search(_IN_TEXT.sub("", content)) or "boxed" in content:
        return formula[0]
    left, right = "", content
    for equals in _EQUALS.finditer(content):
        if content.count("{", 0, equals.start()) == content.count("}", 0, equals.start()):
            left, right = content[: equals.end()], content[equals.end() :]
    if not _NOT_PLAIN.search(right) or _ONLY_NAME.fullmatch(right) or _BRACKETS.fullmatch(right):
        return formula[0]
    whole = f"${right.strip()}$"
    if simplifies and _VARIABLE.search(left) and _VARIABLE.search(right) and not _ONLY_NAME.fullmatch(left.rstrip("=")):
        left, whole = "", f"${content.strip()}$"
    return f"${left} {read.stand_in(whole)}$" if left else read.stand_in(whole)


def _without_expressions(read: StandIns, simplifies: bool) -> str:
    """The text with numbers for the expressions that stand in it without dollar signs: "3n + 2", "x > 3"."""
    text, pieces, end = read.text, [], 0
    left = None  # where the left side of an equation begins
    for begin, stop in _runs(text):
        if _LEFT_SIDE.match(text, stop):  # the calculation's rules read it
            left = (begin, stop) if _VARIABLE.search(text, begin, stop) else None
            continue
        if simplifies and left is not None and re.fullmatch(r" ?= ?", text[left[1] : begin]):
            begin = left[0]
        left = None
        pieces += [text[end:begin], read.stand_in(text[begin:stop])]
        end = stop
    return "".join([*pieces, text[end:]])


def _join_relations(read: StandIns) -> None:
    """Makes one value of two inequalities with "or" or "and" between them."""
    if not _RELATION.search(read.put_back(read.text)):
        return
    joined = re.compile(rf"\b{read.prefix}[0-9]{{3}},? (or|and) {read.prefix}[0-9]{{3}}\b")

    def join(pair: re.Match[str]) -> str | None:
        left, _, right = pair[0].partition(f" {pair[1]} ")
        values = [read.put_back(side.strip(",")).strip("$") for side in (left, right)]
        together = f"{values[0]} \\text{{ {pair[1]} }} {values[1]}"
        return together if all(_RELATION.search(value) for value in values) else None

    read.replace(joined, join)
    read.text = re.sub(rf"\b[Aa](?:ll|ny) (?=(?:[a-z]{{2,8}} )?{read.prefix}[0-9]{{3}}\b)", "", read.text)


def _runs(text: str) -> list[tuple[int, int]]:
    """Where expressions in letters stand in a text: the longest runs of numbers, single letters and signs."""
    found: list[tuple[int, int]] = []
    run: list[re.Match[str]] = []
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        belongs = kind in ("number", "relation", "sign", "opens", "closes", "space", "power") or _is_name(token)
        operand = kind in ("number", "word", "opens")
        # Two operands side by side are a product only if nothing stands between them: "3n", not "3 n".
        apart = len(run) > 1 and operand and run[-1].lastgroup == "space" and run[-2].lastgroup in _ENDS_OPERAND
        glued = run and kind == "number" and run[-1].lastgroup == "word" and run[-1][0] != "\u221a"  # "3x4"
        if run and (not belongs or apart or glued):
            _add_run(text, run, found)
            run = []
        if belongs and not glued:
            run.append(token)
    _add_run(text, run, found)
    return found


_ENDS_OPERAND = ("number", "word", "closes", "power")


def _is_name(token: re.Match[str]) -> bool:
    """Whether a token is the name of a variable or a function."""
    name = token[0]
    return (len(name) == 1 and "a" <= name <= "z") or name in _NAMES


def _add_run(text: str, run: list[re.Match[str]], found: list[tuple[int, int]]) -> None:
    """Adds the part of a run of tokens that is one expression, if there is one."""
    # Off with what belongs to the words around it: spaces, signs without an operand, brackets without a partner.
    while run and (run[-1].lastgroup not in _ENDS_OPERAND or (run[-1].lastgroup == "closes" and _unbalanced(run))):
        run = run[:-1]
    while run and (
        run[0].lastgroup in ("space", "closes", "relation")
        or (run[0].lastgroup == "sign" and (run[0][0] not in "-\u00b1" or len(run) < 2 or run[1].lastgroup == "space"))
        or (run[0].lastgroup == "opens" and _unbalanced(run))
    ):
        run = run[1:]
    if not run or _unbalanced(run):
        return
    begin, stop = run[0].start(), run[-1].end()
    if not any(_is_name(token) for token in run) or not _is_expression(run):
        return
    before, behind = text[max(0, begin - 1) : begin], text[stop : stop + 2]
    if _UNIT.fullmatch(text[begin:stop]) and _AMOUNT.search(text[max(0, begin - 6) : begin]):
        return  # "9.8 m/s", "24 kg m/s"
    if re.match(r"[\w.'\u2019_\\{|$#@]", before) or re.match(r"[\w'\u2019_{|(@]|[-/^*+](?=\S)|[.,:][0-9a-z]", behind):
        return
    # "5 - i think", "5 - a guess": a pronoun and an article.
    if run[-1][0] in ("a", "i") and run[-2].lastgroup == "space" and re.match(r" [A-Za-z]{2}", text[stop : stop + 3]):
        return
    found.append((begin, stop))


def _unbalanced(run: list[re.Match[str]]) -> bool:
    """Whether a bracket of a run has no partner."""
    depth = 0
    for token in run:
        depth += {"opens": 1, "closes": -1}.get(token.lastgroup or "", 0)
        if depth < 0:
            return True
    return depth != 0


def _is_expression(run: list[re.Match[str]]) -> bool:
    """Whether a run is more than a letter on its own: "3n", "-i", "x + 2"; "x" alone may be no value at all."""
    operands = [token for token in run if token.lastgroup in ("number", "word", "power")]
    return len(operands) > 1 or (run[0][0] == "-" and operands[0].lastgroup == "word")
