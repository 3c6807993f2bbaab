"""One spelling for mathematical answers that are written differently."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from sml_jax.tasks.math.value_words import with_values

# Unicode signs and what they are written as: operators, Greek letters, quotes, punctuation, spaces; currencies go.
_CHARACTERS = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "\u2014": "-",
        "\uff0d": "-",
        "\u2010": "-",
        "\u2011": "-",
        "\u03a9": "\\Omega ",
        "\u2126": "\\Omega ",
        "\u00b5": "\\mu ",
        "\u03bc": "\\mu ",
        "\u2026": "\\dots ",
        "\u2103": " ",
        "\u2109": " ",
        "\u00d7": "\\times ",
        "\u22c5": "\\cdot ",
        "\u00b7": "\\cdot ",
        "\u00f7": "/",
        "\u2215": "/",
        "\u2044": "/",
        "\u03c0": "\\pi ",
        "\u03b8": "\\theta ",
        "\u221e": "\\infty ",
        "\u2264": "\\leq ",
        "\u2265": "\\geq ",
        "\u2260": "\\neq ",
        "\u2248": "\\approx ",
        "\u00b1": "\\pm ",
        "\u222a": "\\cup ",
        "\u2229": "\\cap ",
        "\u2205": "\\emptyset ",
        "\u221a": "\\sqrt ",
        "\u00b0": " ",
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2032": "'",
        "\uff05": "%",
        "\uff1a": ":",
        "\u3002": ".",
        "\u2009": " ",
        "\u202f": " ",
        "\u00a0": " ",
    }
    | {sign: " " for sign in "\u00a2\u20ac\u00a3\u00a5\u20b9\u20bd\u20a9\u20ab\u0e3f\u20ba\u20bf\u200b\ufeff"}
)
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_SUBSCRIPTS = {chr(0x2080 + digit): str(digit) for digit in range(10)}
# LaTeX that only changes how a text looks.
_WRAP = (
    r"\\(?:text|textbf|textit|textrm|textnormal|textsf|texttt|textup|textsc|emph|bold|underline|uline|"
    r"mathbb(?=\s*\{?[0-9])|mathcal|mathfrak|mathop|unit|si|framebox|fbox|mathrm|mathbf|mathit|mathsf|mathtt|"
    r"mathnormal|pmb|"
    r"mbox|hbox|ensuremath|operatorname)\*?"
)
_COLOURED = re.compile(
    r"\\(?:text|page|f)?color(?:box)?\s*(?:\{[A-Za-z0-9!,# ]{1,40}\}){1,2}(?=\s*[^\s{}]|\s*\{)|"
    r"\\color\s+[a-z]{3,10}(?![a-z])"
)
# A style before one sign, and braces that hold the whole answer.
_BARE_STYLE = re.compile(_WRAP + r"(?![A-Za-z])(?=\s*[0-9A-Zei\\-])")
_IN_BRACES = re.compile(r"\s*\{([^{}]*)\}\s*")
_UNIT_FRACTION = re.compile(
    r"(?<=[0-9}\s~,!])\\[dt]?frac\s?\{\s?" + _WRAP + r"\s?\{[~\s]?[A-Za-z]{1,8}\s?\}(?:\^\{?[0-9]\}?)?\s?\}"
    r"\s?\{\s?" + _WRAP + r"\s?\{[~\s]?[A-Za-z]{1,8}\s?\}(?:\^\{?[0-9]\}?)?\s?\}|"
    r"(?<=[0-9}\s~,!])\\frac\s?\{\s?(?:km|mi|miles|meters|cm|ft|feet|dollars|"
    r"kg|m(?=\s?\}\s?\{\s?(?:s|h|min)\b))\s?\}\s?\{\s?[A-Za-z]{1,7}(?:\^\{?[0-9]\}?)?\s?\}"
)
_UNIT_POWER = re.compile(
    r"(?<=[0-9}\s~,!;])" + _WRAP + r"\s?\{(?=[^{}]{0,40}\^\{-?[0-9]\})(?:[^{}]|\{-?[0-9]\}){1,40}\}$|"
    r"(?<=[0-9}\s~,!;i])" + _WRAP + r"\s?\{[~\s\\]{0,4}(?:[A-Za-z]{2,12}|m)\.?[~\s\\]{0,4}\}\s?\^\s?(?:[23]|\{[23]\})$"
)
_MICRO = re.compile(r"(?<=[0-9])\s?(?:\\mu\s?[A-Za-z]{1,3}|[kM]?\s?\\Omega|\\times)$")
_CURRENCY = re.compile(r"^(?:Rs\.?|USD|US|EUR|GBP|INR|CAD|AUD|CNY|RMB|A|C|HK|NT)(?= ?[-$]?\s?[0-9])\.? ?")
_WRAPPED = re.compile(_WRAP + r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_WRAPPED_UNIT = re.compile(r"(?<=[0-9}\s~,!])" + _WRAP + r"\s*\{[~\s\\]*[A-DF-HJ-Za-df-hj-z]\s*\}(?=[\s^/.$\\-]|$)")
_UNIT_PRODUCT = re.compile(r"\bunit\s*(?:\\cdot|\\times|\*|/)\s*unit\b")
_SPACING = re.compile(
    r"\\(?:left\s?\.|right\s?\.|strut|left|right|[bB]igg?[lr]?|displaystyle|textstyle|scriptstyle|"
    r"(?:[lL]arge|LARGE|[hH]uge|normalsize|scriptsize|footnotesize|small|tiny|bf|rm|it|sf|tt|bfseries|"
    r"itshape)(?![A-Za-z])|"
    r"quad|qquad|enspace|thinspace|[hv]?phantom\{[^{}]*\}|[hv]space\{[^{}]*\}|limits|boldsymbol|bm)(?![A-Za-z])"
    r"|(?<!\\)\\[!,;:> \n()\[\]]|\\\$|[$\"`]|~|&(?=\s*=)|(?<!\\)\\$"
)
_FRACTION = re.compile(r"\\frac\s*(?:\{\s*(-?[0-9]{1,60})\s*\}|([0-9]))\s*(?:\{\s*([0-9]{1,60})\s*\}|([0-9]))")
# Numbers with thousands' separators.
_THOUSANDS = re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9]|,[0-9])")
_SPACED_THOUSANDS = re.compile(r"(?<![0-9.,/^_{] )(?<![0-9.,/^_{])([1-9][0-9]{0,2}(?: [0-9]{3})+)(?![0-9/]| ?/| [0-9])")
# Words in front of an answer that do not change it.
_LEAD = re.compile(
    r"^(?:(?:about|approximately|around|roughly|exactly|only|just|simply|therefore|thus|equal to|a total of|is|"
    r"nearly|almost|option|choice)\b|[=:]|\\approx\b|\\sim\b|\\equiv\b) ?",
    re.IGNORECASE,
)
_THREE_DOTS = re.compile(r"(?<=[,+ ])\.\.\.(?=[,+ ]|$)")
# "a 20% increase" and "an increase of 20%" are a "20% increase"; the 12th of a month is its day 12.
_CHANGE = r"increase|decrease|loss|gain|profit|drop|rise|reduction|discount|growth|decline|deficit|surplus"
_CHANGE_OF = re.compile(
    rf"^(?:an? )?({_CHANGE}) (?:of|by) (\$?\s?[0-9][0-9.,]{{0,30}} ?(?:%|"
    rf"percent)?)$",
    re.IGNORECASE,
)
_A_NUMBER = re.compile(r"^an? (?=(?:negative |minus )?[0-9])", re.IGNORECASE)
_ORDINAL_DAY = re.compile(
    r"^((?:january|february|march|april|may|june|july|august|september|october|november|december) [0-9]{1,2})"
    r"(?:st|nd|rd|th)\b",
    re.IGNORECASE,
)
_DAY_BEFORE_MONTH = re.compile(
    r"^(?:the )?([0-9]{1,2})(?:st|nd|rd|th)?(?: of)? (january|february|march|april|may|june|july|august|september|"
    r"october|november|december)$",
    re.IGNORECASE,
)
_WORDED_SIGN = re.compile(r"^(?:(negative|minus)|positive|plus) infinity$|^plus or minus (?=[0-9\\])", re.IGNORECASE)
# "k \in \mathbb{Z}": what a letter of a family of solutions may be.
_FOR_ALL = re.compile(r"[,;]? ?(?:where |for |with )?\(?[a-z] ?\\in ?\\mathbb ?\{? ?[ZN] ?\}?\)?$")
_ROOT_SIGN = re.compile("\u221a ?([0-9]{1,40}(?:\\.[0-9]{1,40})?)")
# "0.1\overline{6}"
_REPEATING = re.compile(r"(?<![\w.])([0-9]{1,9})\.([0-9]{0,9})\\(?:overline|bar) ?(?:\{ ?([0-9]{1,9}) ?\}|([0-9]))")
# "kg \cdot m / s^2"
_PRODUCT_OF_UNITS = re.compile(
    r"(?<=[0-9])\s+[A-Za-z]{1,5}\s*\\cdot\s*[A-Za-z]{1,4}(?:\s*\^\{?-?[0-9]\}?)?"
    r"(?:\s*/\s*[a-z]{1,4}\s*(?:\^\{?[0-9]\}?)?)?$"
)
_POWER_OF_UNIT = re.compile(
    r"(?<=[0-9]) ?(?:[cmk]?m|in|ft|yd|mi|meters?|metres?|inch(?:es)?|feet|yards|miles) (?:squared|cubed)$", re.I
)
_FULL_HOUR = re.compile(r"^([0-9]{1,2}):00(?= ?[ap]\.? ?m\b)", re.IGNORECASE)
# The ways to say "all real numbers".
_ALL_REALS = re.compile(
    r"(?:[a-z] ?\\in ?)?(?:\\mathbb ?\{? ?R ?\}?|\( ?-\\infty ?, ?\+?\\infty ?\))|"
    r"(?:the set of )?all (?:real numbers?|reals)|"
    r"(?:any )?real numbers"
)
_DOES_NOT_EXIST = re.compile(r"dne|(?:the )?(?:limit )?does ?n[o'\u2019]?t exist")
NO_SOLUTION = re.compile(
    r"(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)(?: exists?)?|\\emptyset|\\varnothing|\\oslash|"
    r"\\\{ ?\\\}|(?:the )?empty set"
)
"""The ways to say that there is no solution, in small letters."""


def canonical(text: str, thousands: bool = True) -> str:
    r"""Rewrites an answer in one spelling, so that two forms of the same answer mostly become the same text.

    Dollar signs, LaTeX's spacing, `\text{}`, degree signs, thousands' commas and a final full stop are removed. Unicode
    signs become LaTeX, digits of other scripts become ASCII, and fractions of whole numbers become `\frac{a}{b}`. A
    percent sign stays.

    Args:
      text: the answer, without words around it.
      thousands: whether "1,000" is one number; if not, its comma stays.
    """
    if not text.isascii():
        text = _ascii(_ROOT_SIGN.sub(r"\\sqrt{\1}", text))
    text = text.replace("{,}", ",") if thousands else text
    text = text.replace("{:}", ":")
    # LaTeX: wrappers, thousands' separators, spacing, fractions, degrees and relations.
    if "slant" in text:
        text = re.sub(r"\\([lg])eqslant(?![A-Za-z])", r"\\\1eq ", text)
    if "\\" in text or "$" in text or "~" in text or '"' in text or "`" in text:
        text = re.sub(r"\\mathrm\s?\{(\\frac\{[a-z]{1,4}\}\{[a-z]{1,4}\})\}", r" \1", text)
        text = _UNIT_FRACTION.sub(" unit ", _COLOURED.sub(" ", text))
        text = re.sub(r"\\(cdot|times)(?=\\(?:text|mathrm|mathbf))", r"\\\1 ", text)
        text = _UNIT_POWER.sub(" unit ", text)
        text = _UNIT_PRODUCT.sub("unit", _WRAPPED_UNIT.sub(" unit ", text))
        for _ in range(3):
            text = _WRAPPED.sub(r" \1 ", text)
        text = _BARE_STYLE.sub(" ", text)
        text = re.sub(r"(?<=[0-9])(?:\\,|,\\!)(?=[0-9]{3}(?![0-9]))", "", text) if thousands else text
        text = re.sub(r"\\\\\s*(?:\[[^\]]*\])?(?=\s*$)", " ", text)
        text = re.sub(r"\\textdollar|\\pounds|\\euro", " ", _SPACING.sub(" ", text))
        text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text)
        text = _FRACTION.sub(lambda match: rf"\frac{{{match[1] or match[2]}}}{{{match[3] or match[4]}}}", text)
        text = re.sub(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree|\\deg(?![A-Za-z])|\\textdegree|\\circ\b", " ", text)
        text = re.sub(r"\\(?:l|c|hdots|)dots[a-z]?(?![A-Za-z])", r"\\dots ", text)
        text = re.sub(r"(^|[,(\[]) ?\+ ?\\infty", r"\1\\infty", _MICRO.sub(" unit", text.strip()))
        text = text.replace("\\%", "%").replace("\\le ", "\\leq ").replace("\\ge ", "\\geq ").replace("\\ne ", "\\neq ")
        text = _REPEATING.sub(_as_fraction, text)
    if thousands:
        text = _THOUSANDS.sub(lambda match: match[1].replace(",", ""), text)
        text = _SPACED_THOUSANDS.sub(lambda match: match[1].replace(" ", ""), " ".join(text.split()))
    text = re.sub(r"(?<=[0-9])x (?=as |more\b|bigger\b|larger\b|longer\b|faster\b)", " times ", text)
    text = re.sub(r"(?<=[0-9])[- ]?fold$", "", text)
    text = _PRODUCT_OF_UNITS.sub(" unit", text.rstrip())
    text = _POWER_OF_UNIT.sub(" unit", text)
    text = _THREE_DOTS.sub(r"\\dots ", re.sub(r"(?<=[\w)}])\*\*(?=[\w({-])", "^", text))
    # What stands around the answer: emphasis, a full stop, words such as "about", brackets around a number.
    text = " ".join(text.split()).strip(" *_").rstrip(".,;: ")
    for _ in range(3):
        text = _LEAD.sub("", text)
    if re.match(r"\( ?[-+]?[0-9./ ]*[0-9] ?\)$", text):  # (5)
        text = text[1:-1].strip()
    while braced := _IN_BRACES.fullmatch(text):
        text = braced[1].strip()
    text = re.sub(r"^([A-Za-z]) is (?=[-0-9\\])", r"\1 = ", text)
    if len(text) > 4 and not text.isdigit():  # most answers are short numbers
        text = _WORDED_SIGN.sub(
            lambda sign: "\\pm " if sign[0].endswith(" ") else ("-" if sign[1] else "") + "\\infty",
            _FOR_ALL.sub("", text),
        )
        text = _DAY_BEFORE_MONTH.sub(r"\2 \1", text)
    text = _FULL_HOUR.sub(r"\1", _ORDINAL_DAY.sub(r"\1", _A_NUMBER.sub("", text)))
    text = with_values(_CURRENCY.sub("", _CHANGE_OF.sub(r"\2 \1", text)))
    return re.sub(r"([-+]) (?=[0-9.])", r"\1", text) if re.match(r"[-+] [0-9.]", text) else text


def _as_fraction(repeating: re.Match[str]) -> str:
    r"""A repeating decimal as a fraction: `0.\overline{3}` is `\frac{1}{3}`."""
    whole, fixed, period = repeating[1], repeating[2], repeating[3] or repeating[4]
    value = Fraction(int(whole + fixed + period) - int(whole + fixed), (10 ** len(period) - 1) * 10 ** len(fixed))
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value.numerator)


def _ascii(text: str) -> str:
    """Unicode signs as ASCII and LaTeX."""
    pieces: list[str] = []
    for at, sign in enumerate(text):
        if sign.isascii():
            pieces.append(sign)
            continue
        kind = unicodedata.category(sign)
        if sign in _SUBSCRIPTS:
            joins = at and text[at - 1] in _SUBSCRIPTS
            pieces.append(("" if joins else "_") + _SUBSCRIPTS[sign])
            continue
        power = sign.translate(_SUPERSCRIPTS)
        if kind == "Nd":
            pieces.append(str(unicodedata.decimal(sign)))
        elif power != sign:  # the first superscript of a run opens an exponent
            before = pieces[-1][-1:] if pieces else ""
            joins = at and text[at - 1].translate(_SUPERSCRIPTS) != text[at - 1]
            pieces.append(power if joins or not before else "^" + power)
        elif kind == "No" and "\u2044" in unicodedata.normalize("NFKC", sign):  # a vulgar fraction
            space = " " if pieces and pieces[-1][-1:].isdigit() else ""
            pieces.append(space + unicodedata.normalize("NFKC", sign).replace("\u2044", "/"))
        else:
            pieces.append(sign.translate(_CHARACTERS))
    return "".join(pieces)


def folded(text: str) -> str:
    """Prepares a text from `canonical` for comparison: without spaces, and with its words in lower case."""
    text = re.sub(r"\b([AaPp])\. ?[Mm]\b\.?", r"\1m", text)
    text = re.sub(r"\\[A-Za-z]+|[A-Za-z]{2,}", lambda word: word[0] if word[0][0] == "\\" else word[0].casefold(), text)
    if NO_SOLUTION.fullmatch(text):
        return "\\emptyset"
    if _DOES_NOT_EXIST.fullmatch(text):
        return "dne"
    if _ALL_REALS.fullmatch(text):
        return "\\mathbb{r}"
    text = re.sub(r"([\^_]) ?\{ ?(\w) ?\}", r"\1\2", text)
    return re.sub(r"\s+", "", re.sub(r"(?<=[0-9]) +(?=[0-9])", "_", text))


def split_parts(text: str) -> list[str]:
    """Splits an answer from `canonical` that is a list or set into its elements.

    It is split at commas, semicolons, "and" and "or" that are not in brackets. A part with a plus-minus sign becomes
    two. An answer that is no list is the only element.
    """
    # A set of elements loses its braces; one with a condition does not.
    inner = re.fullmatch(r"\\\{(.*)\\\}", text)
    if inner and "\\}" not in inner[1] and "|" not in inner[1] and "\\mid" not in inner[1]:
        text = inner[1]
    parts, start, depth = [], 0, 0
    for mark in re.finditer(r"\\[{}]|\\?[()\[\]{}]|[,;]|\b(?:and|or)\b|\\(?:lor|vee|land|wedge)\b", text):
        sign = mark[0].lstrip("\\")
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth = max(0, depth - 1)
        elif depth == 0:
            parts.append(text[start : mark.start()].strip())
            start = mark.end()
    parts.append(text[start:].strip())
    return [value for part in parts if part for value in _both_signs(part)]


def _both_signs(part: str) -> list[str]:
    r"""`a \pm b` as its two values, `a + b` and `a - b`; the sign alone is not a value."""
    if part.count("\\pm") != 1 or part == "\\pm":
        return [part]
    before, _, behind = part.partition("\\pm")
    # "x = \\pm 2" has no sum: there the plus sign goes.
    plus = "+" if re.search(r"[\w})]\s*$", before) and not before.rstrip().endswith("=") else ""
    return [f"{before}{plus}{behind}".strip(), f"{before}-{behind}".strip()]
