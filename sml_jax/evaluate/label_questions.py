"""How many questions a student's turn asks, by rules on its wording."""

from __future__ import annotations

import re

from sml_jax.evaluate.label_text import BULLET, FENCE, sentences

_SHORT = 100  # words: arXiv 2505.06120 takes a question in a longer turn for no clarification

_WH = r"(?:what|which|who|whose|whom|where|when|why|how)"
# "When x is 3, ..." states and "when is it due" asks: a question word counts only before a verb or a quantity.
_ASKS = re.compile(
    rf"""^\W*(?:(?:and|but|so|also|or|then|first|second|third|finally|ok|okay)\b,?\s+)*(?:
        {_WH}(?:\s+(?:is|are|was|were|do|does|did|can|could|should|would|will|has|have|many|much|long|far|old|often
            |big|large|tall|heavy|wide|deep|fast|high|part|parts|about|side|number|kind|type)\b|'s\b)
      | (?:can|could|would|will|do|does|did|is|are|should|may)\s+(?:you|i|we|it|the|this|that|there|my|part|s?he|they
            |his|her|their|an?|any|all|each|every|\d+)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# A question after a remark: "I have the price, but what is the rate".
_ASKS_LATE = re.compile(rf"[:,]\s*(?:does|do|is|are|should|can|{_WH})\b", re.IGNORECASE)
_OPENS_WITH_WH = re.compile(rf"^\W*{_WH}\b", re.IGNORECASE)
# A further question in the same sentence.
_AND_ASKS = re.compile(rf"(?:[,;]|\band)\s+(?:and\s+)?(?:{_WH}|should\s+i|is\s+there|does|do|did)\s+\w", re.IGNORECASE)
# "If you buy two, what does each cost" is one question, commas or not.
_CONDITION_FIRST = re.compile(r"^\W*(?:if|when|before|after)\b", re.IGNORECASE)
# "Which gives 12." opens like a question and states.
_WH_STATES = re.compile(r"^\W*(?:which|when|where|what|how|why|who)\b[^?]*[.:]$", re.IGNORECASE)
# "let me know if you ..." is politeness, "let me know the price" a request.
_THING = r"(?!\s+(?:if\s+(?:you|this|that|there|it)|anything|a\s+(?:try|moment|second|minute|go)|more\s+than))"
# A request for information, in place of a question.
_REQUEST = re.compile(
    rf"""\b(?:
        (?:please|kindly)\s+(?:\w+\s+)?(?:provide|tell|give|share|specify|clarify|send|state|confirm|explain|let)\b
      | let\s+me\s+know{_THING}
      | (?:i|we)(?:'d|\s+would|\s+will|'ll)?\s+(?:also\s+|still\s+|first\s+|just\s+)?(?:need|like|have)\s+to\s+know\b
      | (?:i|we)(?:'d|\s+would|\s+will|'ll)?\s+(?:also\s+|still\s+)?(?:need|require)\s+
        (?:the|your|some|more|further|additional|a\s+few|information|details)\b
        (?!\s+(?:time|to\b|total|sum|difference|product|result))
      | ^\W*tell\s+me\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# "To solve this, we need to know the price" is a plan.
_PURPOSE = re.compile(r"^\W*to\s+(?:solve|find|answer|determine|calculate|compute|get|work)\b", re.IGNORECASE)
# Politeness, not a question about the problem.
_OFFER = re.compile(
    r"(?:(?<!what )would you like|do you want (?:to|some|more|another|an?)\b|"
    r"want me to (?:go on|continue|proceed|explain|show|try|redo|check|help|write|elaborate|do)\b|shall i"
    r"|should i (?:go on|continue|proceed)|anything else"
    r"|(?:does|do) (?:that|this|it|these)(?: all)? (?:make sense|help|look|work|sound)"
    r"|is (?:that|this) (?:clear|ok|okay|right|correct)"
    r"|would you prefer|can i help|may i help|how can i (?:help|assist)|(?:,|^)\W*(?:right|ok|okay|no|correct)\?"
    r"|ready\?|makes? sense\?)",
    re.IGNORECASE,
)
# "What do we know?" is asked of oneself if an answer follows.
_RHETORICAL = re.compile(r"\b(?:we|us|i)\b", re.IGNORECASE)
_SAYS_MORE = re.compile(r"^\W*(?:we|so|first|since|because|well|it is|that is|let|the|by|to|if)\b", re.IGNORECASE)


def count_questions(text: str) -> int:
    """The number of questions that a student's turn asks.

    Counted are sentences with a question mark, sentences that open like a question, and requests ("please provide
    ..."). Offers ("shall I go on?") and questions that the writer goes on to answer do not count. A list after a
    request counts by its items, and a sentence by the question words that it joins.
    """
    lines = sentences(FENCE.sub(" ", text))
    question_count, request_count, item_count, list_expected = 0, 0, 0, False
    for i, line in enumerate(lines):
        sentence = BULLET.sub("", line).strip()
        stripped_sentence = sentence.rstrip("\"'*_)]}” ")
        # "Shall I go on?" is no question about the problem.
        if _OFFER.search(sentence) and not BULLET.match(line):
            continue
        if stripped_sentence.endswith("?") or (_ASKS.match(sentence) and not _WH_STATES.match(stripped_sentence)):
            if not _answered(sentence, lines[i + 1 :]):
                question_count += _joined(sentence)
                list_expected = list_expected or stripped_sentence.endswith(":")
        elif _REQUEST.search(sentence) and not _PURPOSE.match(sentence):
            request_count += 1
        elif (request_count or list_expected) and BULLET.match(line):
            item_count += 1
    # A question with a list after it asks as often as the list has items.
    if question_count:
        return question_count if question_count > 1 else max(question_count, item_count)
    return max(min(request_count, 1), item_count)


def _joined(sentence: str) -> int:
    """Questions in one sentence: "how long is it, and what does it cost?" asks two."""
    opening = _ASKS.match(sentence) or _ASKS_LATE.search(sentence) or _OPENS_WITH_WH.match(sentence)
    if opening is None or (_CONDITION_FIRST.match(sentence) and not opening[0].startswith(":")):
        return 1
    return 1 + len(_AND_ASKS.findall(sentence, opening.end()))


def _answered(question: str, rest: list[str]) -> bool:
    """Whether the writer answers a question itself in the sentences after it."""
    if rest and re.match(r"\W*because\b", rest[0], re.IGNORECASE):
        return True
    return bool(
        rest
        and "?" in question
        and _RHETORICAL.search(question)
        and not re.search(r"\byou\b", question, re.IGNORECASE)
        and "?" not in " ".join(rest)
        and _SAYS_MORE.match(rest[0])
    )


def is_short(text: str) -> bool:
    """Whether a turn has at most 100 words, so that the one question in it is what the turn is about."""
    return len(text.split()) <= _SHORT
