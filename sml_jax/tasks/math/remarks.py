"""Cuts off what stands around and behind a stated value: emphasis, remarks, asides."""

from __future__ import annotations

import re

_ASIDE = re.compile(
    r",? (?:if|provided|assuming)\b(?=[^0-9]{1,80}$)(?![^0-9]{0,80}\b(?:otherwise|or|not)\b)|"
    r", (?=[$]?[0-9.]{1,12} (?:more|less|fewer|of which|times|for)\b)|,? (?:because|since|so|or so (?:I|we|it)|which|"
    r"where|given|when we|if we|as we|after rounding|that is|and not|not|instead of|rather than|(?:as|I) (?:shown|"
    r"believe|think|guess|hope|suppose|said|am|get|got|found|computed|calculated|required|above|desired|expected|"
    r"wanted)|and (?:it|that|this|she|he|they|I|we)|my|our|the (?:old|previous|first))\b|,? \(?i\.e\.|, as\b|"
    r", I (?=[a-z])|,? I['\u2019]m| - I\b| if (?:I|we|you|it|she|he|this|that|my)\b|, (?:as|not|and|in|by|after|for|"
    r"she|he|it|they|we|this|that|using|thus|hence|the|with|right|correct)\b(?! ?[-$\\(]{0,2}[0-9]| ?[$\\(]|"
    r" [A-Za-z] ?=)| (?:-|\u2013) (?=[A-Za-z]{2})|(?<=[a-z]{3}) (?:-|\u2013) (?=[$]?[0-9.]{1,12} [a-z]{2,15} [^=]*$)|"
    r" ?(?:--|\u2014) ?(?=[A-Za-z0-9])| ?[\U0001F300-\U0001FAFF\u2600-\u27BF\uFE0F]",
)
# Behind a plain number, perhaps with a unit of words: a calculation or a circumstance.
NUMBER = r"[-+~]?[$\u00a3\u20ac]?(?:[0-9][0-9,]{0,30}(?:\.[0-9]{1,30})?|\.[0-9]{1,30})(?:/[0-9]{1,30})?(?: ?\\?%)?\$?"
_CIRCUMSTANCE = re.compile(
    rf"({NUMBER}(?: (?!or\b|and\b|times\b|plus\b|minus\b|over\b|out\b|of\b|to\b|by\b|in\b|"
    rf"for\b)[A-Za-z]{{1,20}}){{0,3}})"
    r"(?::\s(?=[^.]{0,80}[=A-Za-z*/\u00d7+])| ?[(\[](?!or\b|mod|and\b|\d[\d.]*[)\]])| for (?=[^.]{0,80}[0-9])|"
    r"(?<=[A-Za-z]) (?:in|from|after|with|at|on) (?=[^.]{0,80}[0-9]))"
)
# Behind a plain number or a formula, perhaps with a unit of words: anything that is no list, sum or choice.
_VALUE = (
    rf"(?:{NUMBER}|[(\[][^()\[\]\n]{{1,60}}[)\]]|\\\(\s?{NUMBER}\s?\\\)|\$[^$\n]{{1,200}}\$|\\\([^\n]{{1,200}}?\\\))"
)
_REMARK_BEHIND = re.compile(
    rf"({_VALUE}(?: (?!(?:or|and|times|plus|minus|over|out|divided|mod|if|but)\b)[A-Za-z][A-Za-z./'-]{{0,19}}){{0,4}}?)"
    r"(?: ?[:;=]-?[)(DPp](?=\W|$)| ?(?:->|\u2192|=>|\u21d2|<-|\u2190) ?(?=[^\n]{0,60}[-+*/x=\u00d7])|"
    r"\s?[,;] ?(?=[A-Za-z])(?!(?:or|and|plus|minus|times|mod|if|[A-Za-z] ?[=<>])\b)|"
    r",? (?:after|when|once|because|since|given|obtained|found|computed|calculated|got|using|with|without|"
    r"where|which|while|so|thus|rather than|instead of|based on|according to|due to|thanks to|including|counting|"
    r"considering|as (?:in|per|a result)|by (?:[a-z]{3,15}ing)|, from|from (?=[0-9$]))\b)",
    re.IGNORECASE,
)
_OR = re.compile(r"\b(?:or|either|maybe|perhaps|possibly|alternatively|otherwise|else)\b", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<![\w)*\\^])(\*{1,3}|__)(?=[^\s*])([^*\n]{1,200}?)(?<=[^\s*])\1(?![\w*(])")
_ORNAMENTS = " #>\u2192\u2190\u21d2\u27f9\u2705\u2714\u2713\u2605\u2606\u2022\u25b6\u276f\u00bb\U0001f449\U0001f389"
_AROUND = re.compile(
    r"<<([^<>=]{1,80})>>|\u00bb([^\u00ab\u00bb]{1,80})\u00ab|\[\[(.{1,200})\]\]|"
    r"[\u27e8\u2039]([^\u27e8\u27e9\u2039\u203a]{1,80})[\u27e9\u203a]|"
    r"\u00ab([^\u00ab\u00bb]{1,80})\u00bb|<([^<>=]{1,80})>|\u3010(.{1,80})\u3011|==(.{1,80})==|"
    r"\u300c(.{1,80})\u300d",
    re.DOTALL,
)


# A remark in brackets behind a value of one word: "2\u03c0 (about 6.28)".
_IN_BRACKETS = re.compile(r"(\S{1,60}) \((?=[A-Za-z]{2})(?!(?:or|and|mod)\b)[^()]{1,200}\)\Z")


def without_aside(text: str) -> str:
    """A sentence up to the first aside: "because ..", "i.e. ..", "and not ..", "I think"."""
    return _ASIDE.split(text, maxsplit=1)[0].strip(" *_\t\n,")


def plain(text: str) -> str:
    """A text without the signs that emphasise it or stand around it."""
    text = re.sub(r"(?:\s!|!!)[!\s]*$", "", _EMPHASIS.sub(r"\2", text).strip(" *_\t\n"))
    if text.count("]") == 1 and text.endswith("]") and not text.endswith("\\]") and not re.search(r"[(\[,;]", text):
        text = text[:-1].rstrip()
    around = _AROUND.match(text)
    return next(filter(None, around.groups())) + text[around.end() :] if around else text.strip(_ORNAMENTS)


def without_remark(answer: str) -> str:
    """An answer up to a remark or a circumstance behind its value; one that holds another candidate stays whole."""
    cut = without_aside(answer)
    for behind in (_IN_BRACKETS, _REMARK_BEHIND, _CIRCUMSTANCE):
        found = behind.match(cut)
        cut = found[1] if found else cut
    return answer if not cut or _OR.search(answer[len(cut) :]) else cut.strip(" :*_")


def last_sentence(text: str) -> str:
    """What a text's last sentence has so far."""
    ends = [end.end() for end in re.finditer(r"[.!?](?=\s)|\n", text)]
    return text[max(ends, default=0) :]
