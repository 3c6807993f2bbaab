"""What a sentence says of a number that it begins with: "5 is what I get", and not "5 sounds odd"."""

from __future__ import annotations

import re

_QUOTES = r"(?:['\"*`)]{1,3})?"
_UNIT = r"(?: [a-z]{2,15}){0,2}?"
# A number, or an amount, that is spoken of in the singular: most of what may be said of it approves of nothing.
_JUDGED = re.compile(
    rf"{_QUOTES}(?:{_UNIT} (?:is|was|would|will|seems?|sounds?|looks?|feels?|appears?|must|should|has|had|(?:have|"
    rf"needs?) to|can|could|may|might|[a-z]{{2,7}}n['\u2019]t|(?:are|were) (?:given|mentioned|stated|known|ruled|"
    rf"excluded|rejected|listed|described|specified))\b(?!['\u2019]s)| (?:fails|lacks|contradicts|breaks|violates|"
    rf"ignores|misses|surprises|confuses|puzzles|bothers|(?:leaves|makes|gives) me|c[ao]mes? (?:from|to mind))\b|"
    rf"(?! (?:is|was|"
    rf"are|were|becomes|makes|gives|leaves|for|with|from|per|and|plus|times|minus|after|before|than|"
    rf"then)\b) [a-z]{{3,12}} (?:me|us|like|as|too|my|your|next|first|the)\b)",
    re.IGNORECASE,
)
_MUST_BE = r"(?:must|will|should|(?:has|have) to) be"
_BE = (
    r"(?:is|was|(?:would|will|must|should|(?:has|have|needs?) to) (?:[a-z]{4,10} )?be|seems|sounds|looks|appears)"
    r"(?: to be)?"
)
_ADVERBS = (
    r"(?: (?:also|indeed|now|then|still|therefore|thus|definitely|clearly|certainly|really|just|actually|probably|"
    r"exactly|simply|only|about))*"
)
_WHAT_WE = r"what (?:I|we|she|he|they|it|you|was|is)\b(?! (?:guessed|thought|said|wrote|had|wanted|tried))"
# "5 is left", "5 was sold"; not "5 is confusing".
_DONE = (
    r"(?!when|then|even|often|mistaken|ruled|reject|exclud|add|subtract|divid|multipl|confus|surpris|mislead|given|"
    r"used|based|known|said|"
    r"stated|mentioned|disappoint|question|exaggerat)[a-z]{1,12}(?:ed|ing|en)"
)
_APPROVED = re.compile(
    rf"{_QUOTES}(?: it (?:is|must be)(?:, then)?(?:\W*\Z|, )|{_UNIT} (?:is|does|was)\W*\Z| is, I (?:think|believe|"
    rf"guess)\b|"
    rf"{_UNIT} (?:{_MUST_BE} (?!wrong|false|add|"
    rf"subtract|divid|multipl|too\b|not\b|taken)[a-z]|{_BE}{_ADVERBS} (?:(?:right|correct|it|good|better|"
    r"fine|ok|okay|true|left|enough|there|final|more|less|fewer|how|(?:the|my|our|his|her|"
    r"their) (?:[a-z]{2,15} ){0,3}?[a-z]{2,15}(?! (?:I|you|that|which|we)\b(?! (?:get|got|find|found|give|chose|"
    r"choose|have|asked|need|want|were|was|is)))|sold|spent|lost|"
    rf"paid|made|kept|bought|met|built|cut|{_WHAT_WE}|{_DONE})\b|[0-9(])|(?:can|could) be (?:{_DONE}|made|built|sold|"
    rf"bought|kept|cut|seen)\b|(?:must|should|will|would) (?:do|remain|stay|"
    r"come out)\b|will (?!be\b)[a-z]))",
    re.IGNORECASE,
)


def is_doubtful(behind: str) -> bool:
    """Whether the words behind a number judge it without saying that it is so."""
    return _JUDGED.match(behind) is not None and _APPROVED.match(behind) is None
