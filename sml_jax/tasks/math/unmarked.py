"""The value that an utterance states without marking it as the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from sml_jax.tasks.math.clauses import clauses, what_is_said
from sml_jax.tasks.math.followers import (
    asks_about_step,
    is_check,
    is_neutral,
    is_pleasantry,
    is_remark,
    takes_back,
    without_tag,
)
from sml_jax.tasks.math.headings import without_check
from sml_jax.tasks.math.judged import is_doubtful
from sml_jax.tasks.math.plans import plans, tells_past_mishap
from sml_jax.tasks.math.sentence_values import in_digits
from sml_jax.tasks.math.sentences import OLD, SENTENCE_END, denied
from sml_jax.tasks.math.short_answer import short_answer
from sml_jax.tasks.math.stand_ins import StandIns, expressions
from sml_jax.tasks.math.stated_choice import stated_choice
from sml_jax.tasks.math.stated_number import LAST_NUMBER, describes, stated_number
from sml_jax.tasks.math.worded_answer import in_words, kind_of, yes_or_no
from sml_jax.tasks.problems.number_words import BELOW_100, PART_PHRASE, SCALES, part_phrase_value

_MINUS_SIGNS = str.maketrans("\u2212\u2013\uff0d\u2010\u2011", "-----")
_READ_CHARACTERS = 4_000
_MOST_REMARKS = 4
_AROUND = " \t\r\n*_\"'.,;!?"
_DIGIT = re.compile("[0-9]")
# "In step 2": a number that names a part of the text counts nothing.
_REFERENCE = re.compile(
    r"\b((?:step|line|part|problem|question|equation|hint|item|example|exercise|sentence|paragraph|case|attempt|try)s?)"
    r" (?:number |#)?[0-9]{1,3}(?: and [0-9]{1,3})?(?![\w%]|[.,/:]?[0-9]| ?[-+*/=^])",
    re.IGNORECASE,
)
# "It took me 3 tries": what speakers count of their own talk.
_OF_TALK = re.compile(
    r"\b[0-9]{1,3} (?=(?:more |other |small |different )?(?:tries|attempts|hints|tips|clues|steps|questions|mistakes|"
    r"errors|conditions|ideas|comments|minutes of|details)\b)",
    re.IGNORECASE,
)
_SPEAKERS = re.compile(r"\b(?:I|me|my|you|your|we)\b|\b(?:the|these|those|both|all) [0-9]")
# "its 54", "i get 54"
_CASUAL_ITS = re.compile(r"\bits(?= [-$]?[0-9])", re.IGNORECASE)
_CASUAL_I = re.compile(r"(?<![\w)+*/^=-] )(?<![\w)+*/^=-])i(?= [a-z]{3})|(?<=(?:so|ow|nd|en) )i(?= [a-z]{3})")
# A first sentence that answers a question, and words behind it that go on to another result.
_ANSWERS = re.compile(
    r"\W*(?:(?:(?:yes|no|right|correct|exactly|yeah|sure)\b[,.!:]? )?(?:it|that)|(?:yes|no)\b[,.!]? (?:the|my|there)"
    r"(?: [a-z]{1,15}){0,4})(?: is|['\u2019]s| was| are| would be)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\b(?:so|therefore|thus|hence|total|altogether|in all|now|then|but|wait|actually|should|finally|answer|it|this|"
    r"that|half|twice|double|left|no|not|or|sorry)\b",
    re.IGNORECASE,
)
# "Let me restate the problem: .."
_RESTATES = re.compile(
    r"\b(?:let me|let['\u2019]s|I(?: will|['\u2019]ll)|to) (?:first )?(?:(?:restate|rephrase|repeat|recap|"
    r"summari[sz]e) (?:the|this|what|your)\b|recap\W)|\bwhat (?:I|we) (?:already )?know\W",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"=|\b(?:so|therefore|thus|hence|total|altogether|in all|finally|answer|solution|result)\b", re.IGNORECASE
)
_CONCLUDES_HERE = re.compile(
    rf"{_CONCLUDES.pattern}|\b(?:it|it['\u2019]s|that|this|that['\u2019]s|I get|we get|I got)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(?m)^ {0,3}>{1,3} ?")
_SPELLED_TIMES = re.compile(
    rf"\b({'|'.join(BELOW_100)})(?= times\b(?! (?:as|the|more|{'|'.join(BELOW_100)})\b))", re.IGNORECASE
)
# "2.5x as fast", "a quarter of a million"
_SO_MANY_X = re.compile(r"(?<=[0-9])x(?= (?:as|more|bigger|larger|longer|faster|taller|heavier|greater|higher)\b)")
_PART_OF_SCALE = re.compile(
    rf"\b({PART_PHRASE}|half)(?: of)? an? (hundred|thousand|million|billion|trillion)\b", re.IGNORECASE
)
# Where the gold answer is 0: "None", "None of them are left.", "There are no eggs left."
_NONE = re.compile(
    r"\A\W*none\b(?=\W*\Z)|\bnone(?: of (?:it|them|us|(?:the|his|her|their) [a-z]{2,15}))?(?= (?:is|are|was|were|"
    r"will be|remains?|left)\b)|\bno(?= (?:[a-z]{2,15} ){1,3}(?:left|remain(?:s|ing)?)\b)",
    re.IGNORECASE,
)
_AND_A_HALF = re.compile(
    r"\ban? (hour|minute|day|week|month|year|mile|cup|dozen|pound|gallon) and a "
    r"half\b",
    re.IGNORECASE,
)
_BY_THE_WAY = re.compile(r"\b(?:by the way|btw|fun fact|took me)\b", re.IGNORECASE)
_BARE = re.compile(r"[-$]{0,2}[0-9][0-9.,]{0,20}%?(?: [a-z]{1,15}){0,2}")
_OPENS_FORMULA = re.compile(r"(?<!\\)\\[(\[]")
_ABBREVIATION = re.compile(r"\b(?:i\.e|e\.g|Rs|No|approx|[ap]\.m)$")
_ITEM = re.compile(r"\s*(?:[*_]{1,2})?([0-9]{1,2})")  # the number of an item of a list
# A program states nothing, be it fenced or a function with the lines that are indented below it.
_CODE = re.compile(
    r"```[a-zA-Z]{1,20}\n.*?(?:```|\Z)|^def \w{1,40}\([^\n]*:\n(?:[ \t][^\n]*(?:\n|\Z))*", re.DOTALL | re.MULTILINE
)
_HEADING = re.compile(r"A: (?=[^\n]{0,200}=)")  # "A: 16 - 7 = 9" answers "Q:", and chooses nothing
# "It is at least 68 because 200 - 132 = 68", "She gets 16 quarters because 4 * 4 = 16".
_BOUND = re.compile(r"\bat (?:least|most) [$]?\Z")
_RESULT_LAST = re.compile(r"= ?[$]?([0-9][0-9,]{0,20}(?:\.[0-9]{1,20})?)\W*\Z")
_IS_ANSWER = re.compile(
    r"\W{0,4}(?:so )?(?:this|that|which|it)(?: is|['\u2019]s| was| must be)\b[^.!?]{0,30}\banswer\b", re.IGNORECASE
)
_WORDS = re.compile(
    r"(?:(?:so|okay|ok|now|then|well|thus|hence|I think|I believe|I get|I guess|I'd say)[, ]{1,2}){0,3}(?:(?:it|"
    r"that)(?: is|['\u2019]s) )?((?:minus |negative )?(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|"
    r"twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|"
    r"eighty|ninety|a hundred|a thousand|a million|a pair|half a dozen|half a hundred|a dozen)\b(?:[ -](?!way\b|is\b|"
    r"are\b|makes?\b|times\b|plus\b|minus\b|of\b|"
    r"for\b|thing\b|moment\b|more\b|"
    r"(?:clue|idea|step|question|hint|problem|mistake|error|thing|part|case|comment|remark)s?\b)[a-z]{2,15}){0,4})$",
    re.IGNORECASE,
)


def unmarked_answer(utterance: str, gold: str = "") -> str | None:
    """The value of the last sentence that has one, if that sentence states it.

    Remarks, questions for approval, reasons and checks behind that sentence are passed over; a plan, a request, a hedge
    or a denial behind it leaves the utterance without an answer. "Yes, it is 32. He drank 2 * 8 = 16 ounces." answers
    first and explains then.

    Args:
      utterance: what was said.
      gold: the gold answer, whose kind says what is looked for: a number or an expression, a choice, words.
    """
    whole = _HEADING.sub("", utterance.strip())
    opened = [formula.start() for formula in _OPENS_FORMULA.finditer(whole)]
    if opened and opened[-1] > max(whole.rfind("\\)"), whole.rfind("\\]")):
        return None  # the end of the text cuts a formula off
    text = without_check(_CODE.sub("\n", whole))[-_READ_CHARACTERS:].translate(_MINUS_SIGNS).replace("{,}", ",")
    text = _QUOTED.sub("", text) if ">" in text else text
    if " times" in text:
        text = _SPELLED_TIMES.sub(lambda often: str(BELOW_100[often[1].lower()]), text)
    text = _SO_MANY_X.sub(" times", text)
    if " a" in text:
        text = _AND_A_HALF.sub(r"1.5 \1s", _PART_OF_SCALE.sub(_scaled, text))
    if gold.strip("$ ") == "0":
        text = _NONE.sub("0", text)
    kind = kind_of(gold)
    worded = yes_or_no(text) if kind == "yes or no" else _read(in_words(text, gold, kind)) if kind else None
    if worded is not None:
        return worded
    number = (None if kind else short_answer(whole)) or _read(expressions(text, gold))
    # What is no answer in words may still be an attempt with a number.
    return number if number is None or not kind or _DIGIT.search(number) else None


def _scaled(phrase: re.Match[str]) -> str:
    """A part of a million or the like in digits."""
    part = Fraction(1, 2) if phrase[1].lower() == "half" else part_phrase_value(phrase[1])
    value = part * SCALES[phrase[2].lower()]
    return str(value) if value.denominator == 1 else phrase[0]


def _read(read: StandIns) -> str | None:
    """The value of the last sentence that has one, if that sentence states it."""
    sentences = _sentences(read.text)
    answer = _last_stated(sentences)
    if answer is None or _only_restates(read.text):
        return None
    return read.put_back(_answered_first(sentences, answer))


@dataclass(frozen=True)
class _Sentence:
    """A sentence as it is read.

    Attributes:
      whole: the sentence.
      text: the sentence, or the part of it that says something itself.
      said: the same without the signs around it.
      asks: whether it ends in a question mark.
      explains: whether it says nothing but gives a reason for what was said before.
      reasoned: whether it gives a reason for what it says, which it then says in earnest.
      end: the sign that ends it.
    """

    whole: str
    text: str
    said: str
    asks: bool
    explains: bool
    reasoned: bool
    end: str

    @staticmethod
    def of(sentence: str, end: str) -> _Sentence:
        """Reads a sentence without the clauses that only support it and without the numbers of steps."""
        stripped = sentence.strip(_AROUND)
        written = stripped
        if "its " in stripped.lower() or "i " in stripped:
            stripped = _CASUAL_I.sub("I", _CASUAL_ITS.sub("it's", stripped))
        parts = clauses(stripped)
        said = _REFERENCE.sub(r"\1", what_is_said(stripped, parts)).strip(_AROUND)
        if _SPEAKERS.search(said) and "=" not in said:
            said = _OF_TALK.sub("", said)
        reasons = [clause.role == "reason" for clause in parts]
        explains = (
            stripped != ""
            and not re.search("[0-9]", said)
            and any(clause.role in ("reason", "narration") for clause in parts)
        )
        return _Sentence(
            sentence,
            sentence if said == written else said,
            said,
            end == "?",
            explains,
            said != "" and any(reasons),
            end,
        )


def _last_stated(sentences: list[tuple[str, str]]) -> str | None:
    """What the last of some sentences with a value states, None if it states nothing."""
    may_spell = not any(_DIGIT.search(sentence) for sentence, _ in sentences)  # digits go before numbers in words
    remarks, rejected, said_answer, weak = 0, "", False, False
    for written, end in reversed(sentences):
        sentence = _Sentence.of(written, end)
        said, asks = sentence.said, sentence.asks
        if not said and not sentence.explains:
            if sentence.whole.strip(_AROUND) and not (asks and is_remark(sentence.whole, "?")):
                return None  # it tells what the problem says, or what would be so
            continue
        chosen = stated_choice(said)
        if chosen:
            return None if asks else chosen
        has_value = _DIGIT.search(said) is not None
        worded = _WORDS.fullmatch(re.sub(r"(?:, (?:and )?not [a-z -]{3,30}| it is)$", "", said))
        if worded and not asks:
            return worded[1].strip()
        spelled = None
        if not has_value and not asks and (may_spell or sentence.reasoned):
            spelled = in_digits(sentence.text, sentence.reasoned)
        if spelled is not None and (number := stated_number(spelled, said_answer or sentence.reasoned)):
            return None if weak and not _CONCLUDES_HERE.search(said) else number
        if not has_value or is_check(said):
            leaves = (
                (sentence.explains and not takes_back(sentence.whole))
                or is_check(said)
                or is_remark(sentence.whole if asks else said, sentence.end)
            )
            if remarks >= _MOST_REMARKS or not (leaves or is_neutral(said, sentence.end)):
                return None
            weak = weak or not leaves
            remarks, said_answer = remarks + 1, said_answer or _IS_ANSWER.match(said) is not None
            continue
        text = sentence.text
        if asks:
            statement = without_tag(said)
            if statement is None and remarks < _MOST_REMARKS and asks_about_step(said):
                remarks += 1
                continue
            if statement is None:
                return None
            text = statement
        number = stated_number(text, said_answer or sentence.reasoned)
        number = (_calculated(sentence, number) if sentence.reasoned else number) or _before_denial(said)
        if number is None and remarks < _MOST_REMARKS and (describes(said) or is_pleasantry(said)):
            remarks += 1
            continue
        if number is None and remarks < _MOST_REMARKS and (_passes_over(said) or tells_past_mishap(said)):
            remarks, rejected = remarks + 1, rejected + " " + said
            continue
        # What follows is about the problem, and so may this be, unless it concludes.
        if weak and not (_CONCLUDES_HERE.search(said) or _BARE.fullmatch(said) or "**" in said):
            return None
        # "She has 12. So 12 is not correct."
        return None if number is None or number in rejected.split() else number
    return None


def _calculated(sentence: _Sentence, number: str | None) -> str | None:
    """What a sentence states, where its reason is a calculation of just that number.

    A bound is then what was found, and "16 quarters" counts coins.
    """
    result, numbers = _RESULT_LAST.search(sentence.whole), list(LAST_NUMBER.finditer(sentence.said))
    if result is None or not numbers or numbers[-1][0].lstrip("$") != result[1]:
        return number
    return numbers[-1][0] if number is not None or _BOUND.search(sentence.said[: numbers[-1].start()]) else None


def _before_denial(said: str) -> str | None:
    """What a sentence says before its last clause, which denies another value: "240 is right, 26 was a mistake"."""
    first, comma, last = said.rpartition(", ")
    first, comma, last = (first, comma, last) if comma else said.rpartition(" and ")
    if not comma or not _DIGIT.search(first) or not _passes_over(last):
        return None
    return stated_number(first)


def _answered_first(sentences: list[tuple[str, str]], last: str) -> str:
    """The value that the first sentence answers with, where those behind it explain it; else `last`."""
    if not 1 < len(sentences) <= 2 * _MOST_REMARKS or not _ANSWERS.match(sentences[0][0]):
        return last
    first, *rest = [sentence for sentence in (_Sentence.of(*written) for written in sentences) if sentence.said]
    if not rest or len(rest) > _MOST_REMARKS or not _ANSWERS.match(first.said) or first.asks:
        return last
    answer = stated_number(first.text)
    explanation = " ".join(sentence.said for sentence in rest)
    numbers = [number[0] for number in LAST_NUMBER.finditer(explanation)]
    if answer is None or answer in numbers or _GOES_ON.search(explanation):
        return last
    return answer


def _only_restates(text: str) -> bool:
    """Whether a text tells the problem again, and concludes nothing from it."""
    restates = _RESTATES.search(text)
    return restates is not None and not _CONCLUDES.search(text, restates.end())


def _sentences(text: str) -> list[tuple[str, str]]:
    """The sentences of a text, each with the sign that ends it."""
    found, start, items = [], 0, 0
    for end in SENTENCE_END.finditer(text):
        piece = text[start : end.start()]
        if end[0] == "." and _ABBREVIATION.search(piece[-8:]):
            continue
        item = _ITEM.fullmatch(piece) if end[0] == "." and text[end.end() : end.end() + 1] == " " else None
        if item and int(item[1]) == items + 1 and (start or items):
            items += 1
        elif item and item[1] == "1" and text[end.end() :].find("\n2.") >= 0:
            items = 1
        else:
            found.append((piece, end[0]))
        start = end.end()
    return [*found[-50:], (text[start:], "")]


def _passes_over(sentence: str) -> bool:
    """Whether a sentence tells an earlier value or denies one, so that a value before it stands."""
    numbers = list(LAST_NUMBER.finditer(sentence))
    if not numbers:
        return False
    number = numbers[-1]
    # "25 would be odd": why another number is not the answer.
    if len(numbers) == 1 and not sentence[: number.start()].strip() and is_doubtful(sentence[number.end() :]):
        return True
    before, behind = sentence[: number.start()], sentence[number.end() :]
    return (
        OLD.search(sentence) is not None
        or _BY_THE_WAY.search(sentence) is not None
        or (
            (
                denied(behind)
                or re.search(r"\b(?:not|isn['\u2019]t|wasn['\u2019]t|instead of|rather than) $", before[-20:])
                is not None
            )
            and not plans(sentence)
        )
    )
