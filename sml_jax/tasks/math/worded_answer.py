"""Unmarked answers in words where the gold answer is one: a choice, yes or no, a day, a date, a colour, a name."""

from __future__ import annotations

import re
from typing import Literal

from sml_jax.tasks.math.stand_ins import StandIns

GoldKind = Literal["choice", "yes or no", "date", "label", "words"]
"""The kinds of gold answers for which an unmarked answer is no number and no expression."""

_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_GROUPS = [
    "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    _MONTHS,
    "red|orange|yellow|green|blue|indigo|violet|purple|pink|brown|black|white|gr[ae]y|gold|silver",
    "north|south|east|west",
    "even|odd",
    "acute|obtuse|right",
    "increasing|decreasing|constant",
    "first|second|third|fourth|fifth|sixth|last",
    "left|right|up|down",
    "(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)",
]
_CHOICE = re.compile(r"\(?[A-Ja-j]\)|[A-J]")
_YES_OR_NO = re.compile(r"yes|no|true|false", re.IGNORECASE)
_DATE = re.compile(rf"\b(?:{_MONTHS}) [0-9]{{1,2}}\b|\b[0-9]{{1,2}} (?:{_MONTHS})\b", re.IGNORECASE)
_LABEL = re.compile(
    r"(day|week|month|year|hour|minute|page|chapter|room|grade|level|round|step|row|column|floor|lane|box|door|house)"
    r" #?([0-9]{1,4})",
    re.IGNORECASE,
)
_WORDS = re.compile(r"(?:[Tt]he |[Aa]n? )?[A-Za-z]{2,20}(?:[ -][A-Za-z]{2,20}){0,3}")
_NO_NOUN = (
    r"(?! (?!(?:is|was|are|wins|comes|because|since|as|and|or|but|now|again|then|too|in|on|at|for|with|by|to|like|"
    r"when|if|"
    r"which|that|it|one|day|this|has|gets|will|would|must|can|who)\b)[a-z])(?! (?:and again|later)\b)"
)
_STANDS_OUT = (
    r"(?:has|have|gets?|got|had|wins?|won|comes?|came|finish(?:es|ed)?|is|was|runs?|ran|pays?|paid|scored|earns?|"
    r"earned|"
    r"made|will be|ends up|ended up)(?: in)? (?:the (?:most|least|more|fewest|best|larger|smaller|higher|lower|"
    r"[a-z]{3,9}est)|"
    r"next|first|last|second|third|more|fewer)\b"
)
_MASK = re.compile(r"[0-9](?:[0-9.,]{0,40}[0-9])?")

# Words in front of a letter that names a choice; behind any other word it is the name of a point, a bus, a person.
_BEFORE_LABEL = frozenset(
    re.findall(
        r"[a-z']+",
        "is are be was were it it's its that's this pick picks picked picking choose chooses choosing chose choice "
        "choices select selecting selected say says said saying go goes going went with for think thought answer so "
        "thus hence therefore then fits fit matches match satisfies satisfy works leaves leaving left only just not "
        "no yes or and but either neither between to now definitely clearly obviously surely certainly means meaning "
        "supports favor prefer keep keeping stay stick take taking mark marking circle vote voting guess guessing "
        "believe settle on must get got gives giving find found namely probably maybe perhaps than over out exclude "
        "reject eliminate eliminated like rule about why how what if letter correct right best option isn't wasn't "
        "can't couldn't that except still also us mean all ",
    )
)
_BEFORE_NAME = _BEFORE_LABEL | {"called", "named", "name", "winner", "be", "child", "kid", "city", "player"}
_LAST_WORD = re.compile(r"([A-Za-z'\u2019]+)(?: the)? \Z")
# A letter that names a choice, and not a point, a quantity or an article.
_LABEL_LETTER = re.compile(
    r"\b(?:[Oo]ption|[Cc]hoice) \(?([a-j])\)?(?!\w)|(?:\b(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer|[Ss]tatement|"
    r"[Gg]raph|[Ff]igure|[Ee]quation) )?"
    r"(?:\(([A-J])\)|\[([A-J])\]|(?<![A-Za-z0-9'\u2019_\\+*/^-])([A-HJ])(?:\)(?!\w))?(?![A-Za-z0-9'\u2019_^(+*/]| ?=))"
)
_ARTICLE = re.compile(
    r" (?!(?:is|was|gives|works|fits|matches|satisfies|has|must|seems|looks|would|can|could|equals|makes|it|because|"
    r"since|over|and|or|but|as|then|for|not|both|rather|instead|here|now|too|stands|holds|meets|remains|agrees|in|"
    r"by|at|on|from|with|instead|to)\b)[a-z]"
)
_NAMES_A_THING = re.compile(
    r"\b(?:[Ll]et|[Pp]oints?|[Ll]ines?|[Vv]ertex|[Aa]ngles?|[Ss]ets?|[Ee]vents?|[Ss]egments?|[Ss]ides?|[Cc]ircles?|"
    r"[Tt]riangles?|at) \Z"
)
_STANDS_FOR = re.compile(
    r" (?:stands for|means|denotes)\b| (?:is|be) (?:the (?!one|answer|correct|right|best|only)|for |an? )|"
    # "Option B gives 24": what one choice comes to.
    r" (?:says|gives|has|equals|reads|would [a-z]{2,8}) many\b| (?:comes|needs|goes|starts|begins)\b"
)
_STYLED_LABEL = re.compile(r"\\(?:text|math|bold)[a-z]{0,6} ?\{ ?(\(?[A-J]\)?[.):]?) ?\}")
# A label in front of the words of its choice, and what may take it back or name another.
_OPENING_LABEL = re.compile(
    r"\A[\s*$\\{\[]{0,4}(?:\(([A-Ja-j])\)(?![A-Za-z])|([A-Ja-j])(?:\)|[.:]? (?=[-\u2013] )|[.:](?= )))"
)
_DOUBTS = re.compile(
    r"(?<![A-Za-z])\(?[A-J](?![A-Za-z'\u2019])|\?|(?<![\w(])\(?[b-j][).]|\b(?:or|not|no|maybe|perhaps|wrong|but|too|"
    r"wait|if)\b|"
    r"n['\u2019]t\b|(?<=[).:-] )(?:is|was|are|has|looks|seems|would|can|could)\b"
)
# "I'd pick D over C": what is not chosen.
_REJECTED = re.compile(r" (?:over|instead of|rather than) (?:option |choice )?\(?[A-J]\)?(?![A-Za-z'\u2019])")
_ORDINALS = re.findall(
    "[a-z]+",
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth",
)
_WRITTEN_DATE = re.compile(
    rf"\b(?:the )?(?:({_MONTHS}) ([0-9]{{1,2}})(?:st|nd|rd|th)?|(?:([0-9]{{1,2}})(?:st|nd|rd|th)?|"
    rf"({'|'.join(_ORDINALS)}))(?: of)? ({_MONTHS}))\b",
    re.IGNORECASE,
)
_READ_CHARACTERS = 4_000
_SENTENCES = re.compile(r"[^.!?\n]+[.!?]?")
# A sentence that says yes or no: in front of anything else, behind "so", or of a statement.
_SAYS_YES_OR_NO = re.compile(
    r"[\s*_\"']*(?:(?:so|hence|thus|therefore|then|well|okay|ok|oh|hmm|in short|definitely|of course|I think|"
    r"I believe|I'd say)[, ]{1,2}){0,3}(?:(yes|no|nope|yeah|yep|true|false)(?=[*_\"']{0,3}"
    r"(?:[,;:.!?\u2014-]|\W*\Z| -| \(| (?:it|they|he|she|because|since|as|the|there|this|that)\b))|(?:the|this|"
    r"that|it)(?: [a-z]{3,12})?(?: is|['\u2019]s)(?: definitely| clearly| indeed| actually)? (true|false)\b(?! that)|"
    r"[^,;?]{1,80}[,;] so (yes|no)\W*\Z)|\W*(?:(?:it|that|this)(?: is|['\u2019]s) )?not (true|false)\W*\Z",
    re.IGNORECASE,
)
_WORDS_FOR = {"yes": "yes", "yeah": "yes", "yep": "yes", "no": "no", "nope": "no", "true": "true", "false": "false"}
_ASKS_BACK = re.compile(
    r"[\s,.;:!*-]*(?:(?:but|and|so|oh|hmm|I mean)[, ]{1,2}){0,2}(?:wait|idea|way\b|clue|problem|thanks?|thank|please|"
    r"sorry|let (?:me|us)|let['\u2019]s|(?:the |your )?hint|help|more|need|that (?:helps|makes sense|was)|"
    r"that['\u2019]s (?:not what|ok|fine|good|all|it)|I(?! (?:think|believe|checked|computed|calculated|found|get|"
    r"got)\b)\b|"
    r"you\b|we (?:should|need|have to|must)\b|(?:could|can|would|should|what|how|why|which)\b|my\b|or\b|and no\b|"
    r"and yes\b|(?:no|yes|maybe|perhaps)(?=[,.]|$)|don['\u2019]t\b|go on\b|ok(?:ay)?\b|sir\b|hold on|not sure|one "
    r"(?:can|could) )",
    re.IGNORECASE,
)
_OR_NOT = re.compile(
    r"\b(?:or,? (?:maybe |perhaps )?(?:no|yes|not|true|false)\b|not sure|unsure|I (?:guess|doubt)\b)", re.IGNORECASE
)


def kind_of(gold: str) -> GoldKind | None:
    """The kind of a gold answer in words; None for a mathematical one."""
    gold = gold.strip(" $.")
    if _CHOICE.fullmatch(gold):
        return "choice"
    if _YES_OR_NO.fullmatch(gold):
        return "yes or no"
    if _DATE.fullmatch(gold):
        return "date"
    if _LABEL.fullmatch(gold):
        return "label"
    return "words" if _WORDS.fullmatch(gold) else None


def in_words(text: str, gold: str, kind: GoldKind) -> StandIns:
    """A text with numbers for the values of a kind of answer in words.

    Args:
      text: an utterance.
      gold: the gold answer.
      kind: its kind, but for "yes or no".
    """
    if kind == "choice":
        return _labels(text)
    if kind == "date":
        return _dates(text)
    return _counted(text, gold) if kind == "label" else _words(text, gold)


def _labels(text: str) -> StandIns:
    """A text with a number for every letter that names a choice; its own numbers are left out."""
    text = _STYLED_LABEL.sub(r"\1", text.replace("$", "") if "$" in text else text)
    read = StandIns(_MASK.sub("many", text.replace(", i.e. ", ", so it is ")))

    def label(match: re.Match[str]) -> str | None:
        before, behind = match.string[max(0, match.start() - 20) : match.start()], match.string[match.end() :][:30]
        letter = next(filter(None, match.groups())).upper()
        plain = len(match[0]) == 1
        word = _LAST_WORD.search(before)
        if word and plain and word[1].lower().replace("\u2019", "'") not in _BEFORE_LABEL:
            return None if _NAMES_A_THING.search(before) else f"{word[1]} {letter}"
        if _STANDS_FOR.match(behind) and not (word and word[1].lower() == "only"):
            return None
        if word and word[1] == "For":
            return None  # "For B we get 10"
        if plain and letter == "A" and _ARTICLE.match(behind):
            return None
        return letter

    # "d) 5 cm", "D - 5 cm": the label of a choice and its words.
    opening = _OPENING_LABEL.match(read.text)
    if opening and not _DOUBTS.search(read.text, opening.end()):
        return _only((opening[1] or opening[2]).upper(), read)
    read.text = _REJECTED.sub("", read.text)
    read.replace(_LABEL_LETTER, label)
    return read


def _only(value: str, read: StandIns) -> StandIns:
    """A text that is one value."""
    read.text = read.stand_in(value)
    return read


def _dates(text: str) -> StandIns:
    """A text with a number for every date, which stands for it as "July 12"; its own numbers are left out."""
    read = StandIns(text)
    read.replace(_WRITTEN_DATE, _date)
    return _placed(_masked(read))


def _date(written: re.Match[str]) -> str:
    """A date as "July 12"."""
    day = written[2] or written[3] or str(_ORDINALS.index(written[4].lower()) + 1)
    return f"{written[1] or written[5]} {day}"


def _counted(text: str, gold: str) -> StandIns:
    """A text with a number for every "day 5" and "5th day", where the gold answer is "day 5" or the like."""
    what = _LABEL.fullmatch(gold.strip(" $."))
    unit = what[1].lower() if what else "day"
    read = StandIns(text)
    read.replace(
        re.compile(
            rf"\b(?:the )?(?:({unit}) #?([0-9]{{1,4}})\b|([0-9]{{1,4}})(?:st|nd|rd|th) {unit}\b)", re.IGNORECASE
        ),
        lambda label: f"{unit} {label[2] or label[3]}",
    )
    return _placed(_masked(read))


def _words(text: str, gold: str) -> StandIns:
    """A text with a number for every word of the gold answer's kind: each day of the week, each colour, each name.

    Of other words only the gold answer itself is told apart, so a sentence that offers it with "or" has no value.
    """
    phrase = re.sub(r"^(?:the|an?) ", "", gold.strip(" $."), flags=re.IGNORECASE)
    group = next((group for group in _GROUPS if re.fullmatch(group, phrase, re.IGNORECASE)), re.escape(phrase))
    names = r"|(?<=[a-z,] )[A-Z][a-z]{1,20}\b" if group[0].isupper() else ""
    read = StandIns(_MASK.sub("many", text))
    # Behind "before" it is what something else is counted from, and in front of a noun it describes that.
    named = re.compile(
        rf"(?<!before )(?<!after )(?<!from )(?<!since )(?<!than )(?<!oday is )\b(?:(?i:the|an?) "
        rf")?(?:(?i:{group}){_NO_NOUN}{names})"
        r"(?![\w'\u2019-])"
    )

    def value(word: re.Match[str]) -> str:
        bare = re.sub(r"^(?:the|an?) ", "", word[0], flags=re.IGNORECASE)
        word_before = _LAST_WORD.search(word.string[max(0, word.start() - 20) : word.start()])
        a_name = group == re.escape(phrase) and phrase[:1].isupper()
        if a_name and word_before and word_before[1].lower() not in _BEFORE_NAME:
            return f"{word_before[1]} {bare}"  # "Tom beats Emma"
        return gold if bare.lower() == phrase.lower() else bare

    read.replace(named, value)
    return _placed(read)


def _placed(read: StandIns) -> StandIns:
    """Words behind prepositions as what is said: "They meet on 70000" as "They meet is 70000"."""
    value = rf"{read.prefix}[0-9]{{3}}\b"
    text = re.sub(
        rf"(\A|[.!?\n] ?)(?:on|in|at|until) (?=(?:the )?{value}\W*(?:\Z|\n))",
        r"\1It is ",
        read.text,
        flags=re.IGNORECASE,
    )
    text = re.sub(
        rf"(?m)^((?:so|then|thus|hence),? )?(?:on|in|at|by) (?:the [a-z]{{2,12}} of )?({value}),? (?=[a-z])",
        r"It is \2, since ",
        text,
        flags=re.IGNORECASE,
    )
    # "Ben has the most", "Purple comes next"
    text = re.sub(
        rf"(?m)^((?:so|then|thus|hence),? )?({value}) (?={_STANDS_OUT})", r"It is \2, since it ", text, flags=re.I
    )
    read.text = re.sub(rf"\b(?:on|in|at|until) (?=(?:the )?{value})", "is ", text, flags=re.IGNORECASE)
    return read


def _masked(read: StandIns) -> StandIns:
    """Leaves out the numbers that stand for nothing."""
    read.text = _MASK.sub(lambda number: number[0] if read.put_back(number[0]) != number[0] else "many", read.text)
    return read


def yes_or_no(text: str) -> str | None:
    """The yes or no, true or false, that a text says; None where it asks, hedges or says both."""
    found = None
    for sentence in _SENTENCES.findall(text[:_READ_CHARACTERS]):
        if _OR_NOT.match(sentence.lstrip(" .")):
            return None
        said = _SAYS_YES_OR_NO.match(sentence)
        if said is None:
            continue
        word, behind = next(filter(None, said.groups())), sentence[said.end() :]
        if behind.rstrip().endswith("?") or _ASKS_BACK.match(behind) or _OR_NOT.search(behind):
            return None
        if found is not None and _WORDS_FOR[found] != _WORDS_FOR[word.lower()]:
            return None
        found = {"true": "false", "false": "true"}[word.lower()] if said[4] else word.lower()
    return None if found is None else _WORDS_FOR[found]
