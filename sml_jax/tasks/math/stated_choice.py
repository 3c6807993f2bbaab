"""The choice that a sentence makes without the word "answer": "Option C.", "I would go with (C), since ..", "C. 42"."""

from __future__ import annotations

import re

_LEAD_WORDS = (
    r"so|thus|hence|therefore|then|now|ok|okay|well|the|correct|best|right|it is|it's|must|that is|that's|I|I'm|I am|"
    r"my|we|answer|would|will|be|go|going|for|with|final|choose|pick|select|say|chose|think|believe|guess|I'd|I'll|"
    r"option|choice|it|is|letter|has|to|one|should|choosing|confident|sure|certain|that"
)
# The words in front of a label, the label, and what may stand behind it.
_CHOICE = re.compile(
    rf"(?i:\W{{0,4}}(?:(?:{_LEAD_WORDS})\b[\s,:]{{0,4}}){{0,9}})(\([A-J]\)|[A-HJ])"
    r"(?:[.):]?$|[.):]{1,2} (?=\S).{1,80}$|(?<=\)) (?=\S).{1,80}$|,? (?:since|because|as) .{1,150}$|"
    r" (?:is|seems|looks)(?: the)? (?:correct|right|best)(?: option| choice| one)?$| it is$)"
)
_DASHED = re.compile(r"(\(?[A-J]\)?) [-\u2013] [^=]{1,80}$")
_NAMES_CHOICE = re.compile(
    r"\b(?:option|choice|it|it's|it is|must be|go|going|pick|choose|select|say|think|chose|believe|letter|correct|"
    r"right)\b|^\W?[A-J]\W|^(?:(?:so|thus|hence|therefore|then)\W{1,3})?\(?[A-J]\)?\W*$",
    re.IGNORECASE,
)
_LABEL_LINE = re.compile(r"\W{0,4}(\([A-J]\)|[A-HJ])[.)]?\W{0,4}\n")
_WRAPPED = re.compile(r"\\(?:text|mathrm|mathbf)[a-z]{0,6} ?\{ ?(\(?[A-J]\)?[.):]?) ?\}")
# A label that stands alone; most sentences have none, and are done with.
_LABEL = re.compile(r"(?<![A-Za-z0-9])[A-J](?![A-Za-z0-9])")
_SIGNS = re.compile(r"\\[ ,;]|[*$`_]|\\[()\[\]]")


def stated_choice(sentence: str) -> str | None:
    """The label of the choice that a sentence makes, and what stands behind it ("C. 42"); None if it makes none."""
    if not _LABEL.search(sentence):
        return None
    sentence = _plain(sentence)
    if len(sentence) > 200:
        return None
    dashed = _DASHED.match(sentence)
    choice = _CHOICE.match(sentence)
    if dashed and not choice:
        return dashed[1]
    if choice is None or not _NAMES_CHOICE.search(sentence):
        return None
    return re.sub(r",? (?:it is|is|seems|looks|since|because|as)\b.*$", "", sentence[choice.start(1) :])


def label_line(text: str) -> str | None:
    """The label of a choice that is the whole first line of a longer text, where no later sentence may choose."""
    first = _LABEL_LINE.match(text)
    return first[1] if first and not re.search(r"\b(?:answer|option|choice)\b", text[first.end() :], re.I) else None


def _plain(sentence: str) -> str:
    r"""A sentence without styles: "(C) 42" for `$\textbf{(C)}\ 42$`, "(C)" for "[C]"."""
    sentence = _SIGNS.sub(" ", _WRAPPED.sub(r"\1", sentence[:400]))
    sentence = re.sub(r"\b[Nn]ot \(?[A-J]\)?,? (?:but|so) (?=\(?[A-J]\b)", "", sentence)
    return re.sub(r"^\[([A-J])\]", r"(\1)", " ".join(sentence.split()))
