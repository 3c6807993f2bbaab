"""The number that one sentence states without marking it as the answer."""

from __future__ import annotations

import re
from fractions import Fraction

from sml_jax.tasks.math.plans import plans, tells_mishap
from sml_jax.tasks.math.says import STATES, only_carries, says
from sml_jax.tasks.math.sentence_values import NAMED_LIST, NOT_COUNTED, TWO_UNITS, several, with_words
from sml_jax.tasks.math.sentences import OLD, VAGUE, after_turn, denied, is_quoted, not_said, unstated
from sml_jax.tasks.math.unsolved import is_unsolved
from sml_jax.tasks.problems.numbers import AnswerNumber, answer_number

_REQUEST = re.compile(
    r"\W*(?:(?:ok|okay|so|hey|well|wait|sorry|oh|hang on|hold on|and|but|just)[, ]{1,2}){0,2}(?:wait (?:for "
    r")?[0-9]{1,9}|"
    r"please|could|can|"
    r"would|should(?! be)|tell|give|let me know|what(?! (?:I|we|he|she|they|you|it|is left|"
    r"remains)\b)|which(?! means)|how|why|do|does|is|are|was|were)\b(?!['\u2019]s)",
    re.IGNORECASE,
)
# What stands before the last number and makes it no statement: "5 or 6", "step 3".
_HEDGE = re.compile(
    r"(?:\b(?:in|into) [a-z]{2,12}s of|\b(?:or|not|nor|than|least|most|between|except|near|close to|over|step|"
    r"problem|question|"
    r"part|maybe|perhaps|chapter|line|equation|(?:differ[a-z]{0,3}|different|far|away) from|below|above|under|beyond|"
    r"rul(?:es?|ed|ing) out|, say|for example|such as|to do with|(?:multiple|factor|divisor)s? of|divisible by|"
    r"(?:eliminat|exclud|"
    r"reject)[a-z]{1,3}|(?:(?<!after )all|everything|anything|"
    r"nothing) but|"
    r"hint|tip|clue|help with number|sentence|paragraph|item|comment|exercise|example|either|(?:multipl|"
    r"divid)[a-z]{1,8}(?: (?:it|this|that|them))? by)|n't|[#?<>\u2260\u00b1]|\\(?:neq?|pm|leq?|geq?)|"
    r"\\sqrt\{) ?[-+$\u00a3\u20ac]*$",
    re.IGNORECASE,
)
_ABOUT_ANSWERS = re.compile(r"\b(?:I|[Ww]e|[Mm]y|[Yy]ou|[Yy]our|[Ii]t|answer|result)\b")
_AT_FIRST = re.compile(r",? (?:at first|initially|originally|at the (?:start|beginning)|to begin with)$")
_COMPARES = re.compile(
    r" (?:[a-z]{2,15} ){0,2}?(?:more|less|fewer|greater|higher|lower|larger|smaller|longer|shorter|older|younger|"
    r"taller|heavier)(?: [a-z]{2,15}){0,2} than (?:twice|half|double|[0-9]|two|three|four|five|a third|one)\b"
)
_DIGITS = "[0-9]{1,60}"
_NUMBER = (
    rf"[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]{{1,60}})?|{_DIGITS} {_DIGITS} ?/ ?{_DIGITS}|"
    rf"(?:{_DIGITS}(?:\.[0-9]{{0,60}})?|\.{_DIGITS})(?: ?/ ?{_DIGITS})?"
)
# A number may run into a unit of two letters or more, or of an area: "25cm", "25m^2".
_RUN_IN_UNIT = (
    r"[VWANJKCFL](?![\w^*+=/])|(?:[cmk]m|ft|in|yd|mi|k?g|mg|m?l|lbs?|oz|hrs?|min|mph|km/h|m/s|(?![ap]m\b|st\b|nd\b|"
    r"rd\b|th\b)"
    r"[A-Za-z]{2,20}|[\u00b5\u03bc][A-Za-z]{1,2}|[kM]?[\u03a9\u2126]|\u00b0[CFK]?)(?:\^?[23])?(?![\w^*+=/])|"
    r"m(?:\^?[23])(?![\w^*+=/])|[/-](?=[A-Za-z]{2})"
)
LAST_NUMBER = re.compile(
    rf"(?<![\w.,)/+:^{{-])[-+]?[$\u00a3\u20ac\u00a5\u20b9]?(?:{_NUMBER})(?:\s?\\?%)?(?!(?!{_RUN_IN_UNIT})[\w/*+^=:-]|"
    rf"\.[0-9]|\([A-Za-z0-9])"
)
_REPLACES = re.compile(
    rf"(?:(?:so|now|then|yes|no|ok),? )?([-$]{{0,2}}(?:{_NUMBER}))(?: [a-z]{{1,12}}){{0,3}}? (?:now )?(?:replaces|"
    rf"supersedes|corrects|is my new)\b",
    re.IGNORECASE,
)
# "She has 5 of the 7 eggs."
_PART_OF = re.compile(
    r"[0-9] (?:[a-z]{2,15} ){0,2}?(?:out )?of (?:the|its|his|her|their|all|these|those) (?:[a-z]{2,12} )?$"
)
_NUMBER_CHAIN = re.compile(rf"{_DIGITS}(?:\.{_DIGITS})?(?: *[=\u2248] *{_DIGITS}(?:\.{_DIGITS})?){{1,20}}")
_APPROXIMATIONS = re.compile(rf"{_DIGITS}(?:\.{_DIGITS})?(?: *\u2248 *{_DIGITS}(?:\.{_DIGITS})?){{2,20}}")
_NOT_DONE = re.compile(r"(?:\bnot|n['\u2019]t) (?:quite |yet )?(?:done|finished)\b", re.IGNORECASE)
_INTERJECTION = re.compile(
    r"(?:\W{0,4}(?:about|approximately|roughly|up|down|minus|negative|yes|yeah|yup|yep|nope|fine|still|sorry|wait|"
    r"oops|finally|no|ok|okay|so|well|a+h+a?|"
    r"o+h+|u+h+|h*m+|"
    r"wow|phew|then|now|right|sure|scratch that|corrected|fixed(?: it)?|make that|alright|all right|only|exactly|"
    r"obviously|clearly|definitely|certainly|naturally|"
    r"surely|apparently|simply|my bad|my mistake|good point|fair enough|of course|exactly|indeed|correct|got it|"
    r"I see)\b){1,4}\W*|\W*not [^,.]{1,20},? but |\w+ing (?:it|them|these|this|both)(?: all)?(?: up| together)?, ",
    re.IGNORECASE,
)
_SQUARE_UNIT = re.compile(r"^[-+]?[0-9][0-9.,]{0,30} ?(?:mm|cm|dm|km|m|ft|in|yd|mi)(?:\^?[23]|[\u00b2\u00b3])?$")
_CALCULATED = re.compile(r"[\w)%$}\]] ?= ?[$\u00a3\u20ac]?$")
# A range, and the verbs with which a value goes "from 2 to 4" and is 4 in the end.
_SPAN = re.compile(r"\b(?:between [^,]{1,30} and|from [^,]{1,30} to) [-$]?$", re.IGNORECASE)
_MOVES = re.compile(
    r"\b(?:goes|went|gone|chang|increas|decreas|ris|rose|fell|fall|drop|grew|grow|reduc|mov|rais|cut|revis|switch|"
    r"updat|correct|amend|adjust)[a-z]{0,5}\b",
    re.I,
)
# Behind a number: the speaker goes on to what is still to be done, or quotes the question.
_UNFINISHED = re.compile(
    r"[^,;.]{0,30}\bso far\b| would only be\b|[^.;]{0,60}\b(?:more|another|last|final|one) steps? (?:to go|left|"
    r"remain)|[^.;]{0,60}[,;] ?(?:so |and |but )?not "
    r"(?:yet )?(?:done|finished|the (?:final )?(?:answer|total))\b| (?:is|was|are) (?:only|just|merely) (?:the "
    r"(?:number|"
    r"amount|cost|price|first|length|part|weight|sum) (?:of|for|step|part)|(?:a |one |the first )?part\b|half of the)|"
    r"[^,;.]{0,60}(?:[,;]|[,;]? ?\b(?:so|and|but)(?: now)?) (?:I|we) (?:now |still |also |then |just ){0,2}(?:need|"
    r"have to|must|want|should|will|can|am going)\b(?![^=]{0,80}=)|[^,;.]{0,40} (?:in|from|of) the (?:question|"
    r"problem|text|story|hint)\b",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(
    r"\W*(?:I|we|let['\u2019]s)(?:['\u2019]ll| will| can)? (?:try|test|guess) [a-z] ?= ?\S{1,12}$|"
    r"\W*(?:otherwise|alternatively)\b|\W*(?:let|say|suppose|assume) (?!me|us|['\u2019]s)(?!.{0,200}\b(?:so|then|thus|"
    r"gives|hence)\b)",
    re.IGNORECASE,
)
# Another candidate, or a bound, behind a number.
_MORE = re.compile(
    rf"-?ish\b|,? (?:{VAGUE}|(?:or|and) [-$]?[0-9]|or not\b|or$|(?:maybe|perhaps|possibly)\W*$|"
    r"or (?:more|less|fewer|maybe|even|possibly|perhaps)\b)|"
    r"(?: [a-z]{2,12})? (?:at (?:the very )?(?:most|least|best)|tops|maximum|minimum)\W*$",
    re.IGNORECASE,
)
# Behind the result of a calculation: what comes of it.
_GOES_ON = re.compile(
    r"[^,;=]{0,60}[,;] ?(?:and )?(?:so|for|making|giving|which (?:gives|makes|is|means)|thus|hence|therefore|that's|"
    r"the [a-z]{3,15} (?:is|are|has|measures|comes to|becomes))\b"
)
_BEFORE_NOW = re.compile(
    r"(?: [a-z]{2,12}){0,4} (?:before|earlier|(?:the )?(?:last|first) time(?: around)?|at first)$", re.IGNORECASE
)
# "2.5 m times the coats" is still to be worked out.
_OPERATOR_BEHIND = re.compile(
    r"(?: [a-z]{1,12})? (?:times|plus|minus|divided by|multiplied by) (?:something|some|what|a bit|a little|a few|"
    r"the(?! (?:original|"
    r"initial|size|old|former|"
    r"previous)\b)|that|this|those|its|his|her)\b"
)
_LISTED = re.compile(r"(?:\A|\D)[0-9.]{1,6}(?:,| and| &) [$]?$")
_TWO_COUNTS = re.compile(
    r"(?:(?<![=\w] )|\b(?:is|are|of|has|have) )\b[0-9][0-9,.]{0,20} (?!hours?\b|minutes?\b|feet\b|dollars?\b)"
    r"(?:[a-z]{2,15} ){1,3}and [$]?$"
)
# "The bed is 8 meters long and 5 meters wide", "The bed is 8 by 5": two measures of one thing.
_TWO_MEASURES = re.compile(
    r"\b(?:is|are|was|were|be|measures?|of|has|have) (?:about )?[0-9][0-9,.]{0,20}(?: (?:mm|cm|m|km|ft|in|yd|"
    r"[a-z]{4,12}))? (?:(?:long|wide|high|tall|deep|thick|across) and (?:only |about )?|by )$"
)
# "Next: times 3": a calculation whose other number is said elsewhere.
_OPERATOR_ALONE = re.compile(r"(?:^|[:,;] ?|\bthen )(?:times|plus|divided by|multiplied by) $", re.IGNORECASE)
_SPEAKER = re.compile(r"\b(?:I|[Ww]e|[Yy]ou)(?:['\u2019](?:ve|d))? [a-z]{2,8} (?:[a-z]{2,8} )?$")
_IN_QUESTION = re.compile(
    r"\b(?:in|from|of) the (?:question|problem|text|story|hint)\b(?![^=]{0,80}(?:=|\bso\b|,))", re.IGNORECASE
)
_OPERATOR_BEFORE = re.compile(
    r"[0-9)\]%] ?(?:[-+*/\u00d7\u00f7]|x|\\times|\\cdot|\\div) ?[$]?$|[0-9a-z] (?:times|divided by|multiplied by) $"
)
# A sentence that tells a mistake and what comes out without it.
_MENDED = re.compile(
    r"[=:]|, (?:it|that)(?:['\u2019]s| is)\b|"
    r"\b(?:so|should be|now|gives?|(?:I|we) (?:now |then )?(?:get|got|find|obtain))\b"
)
_EMPHASISED = re.compile(
    r"(?<![\w*)] )(?<![\w*)])\*([^*\n]{1,40})\*(?![\w*(])|(?<=[a-z] )\*([^*\n]{1,40})\*(?![\w*(])|"
    r"(?<!\w)__([^_\n]{1,40})__(?!\w)"
)
# "He earns 18 dollars in 1 day", ".. by 5 pm", ".. from the original 20 eggs": when that is so, and of what.
_CIRCUMSTANCE = re.compile(
    r"(\b[a-z]{2,20} -?[$]?[0-9][0-9,.]{0,20}\b[^0-9.;:=]{0,80}?),? (?:in (?:the )?(?:1|one) [a-z]{3,12}|(?:by|at|"
    r"before|until|after) [0-9]{1,2}(?::[0-9]{2}(?! ?[ap]m)|(?::[0-9]{2})? ?(?:[ap]\.?m\.?|o'clock))|(?:at|by|after) "
    r"the end of [^.;:=]{1,60}|"
    r"with [$]?[0-9.]{1,12} [a-z ]{1,30}(?:each|apiece|per [a-z]{1,12})|"
    r"(?:from|out of) (?:the |his |her |their )?(?:original |initial |"
    r"total )?[0-9][0-9,.]{0,20}(?: [a-z]{1,15}){1,5})$"
)
# "She earns $64 for 16 hours of work": an amount of money, and for what.
_PRICE = re.compile(
    r"(\b[a-z]{2,20} (?:about )?(?:[$\u00a3\u20ac][0-9][0-9,.]{0,20}|[0-9][0-9,.]{0,20} "
    r"(?:dollars|cents|euros|pounds))),? (?:for|in|on|from|over|after) "
    r"(?:(?:the|all|all the|her|his|their|those|these) )?[0-9]{1,6}(?: [a-z]{1,15}){1,6}$"
)
# "0.75, or 75%": one value in two forms.
_TWICE = re.compile(rf"(?<![-+^*(\w.,/$])(?<![-+*] )((?:{_NUMBER})%?),? or ((?:{_NUMBER})%?)(?![\w%/^*])")
_ARROW = re.compile(r" ?(?:=+>|-+>|[\u2192\u21d2]) ?")
# "72 (68 + 4)", "72 (the price with tax)"
_BRACKETS_BEHIND = re.compile(
    r"(?<=[0-9a-z]) \((?![^()]*\b(?:or|maybe)\b)(?=[^()]*(?:[0-9] ?[-+*/\u00d7]|[a-z]{3}))[^(),]{1,80}$"
)
_OLD_IN_BRACKETS = re.compile(r" \((?:old|previous|previously|was|not|instead|before|earlier)\b[^()]{0,60}\)?$")
_HEADING = re.compile(r"^#{1,3} ")
_BOLD = re.compile(r"\*\*([^*]{1,80})(?:\*\*[^*]*)?$")
_NAME = re.compile(r"(?:^|[\s(:$*_])(?<![-+*/=] )([A-Za-z]) ?= ?-?[$]?$")
_PLACE = re.compile(r"\b(?:at|in|point|through|vertex|cent(?:er|re)|meet|cross) ?\$?\\?[(\[]")


# "Mon: 2, Tue: 4, Wed: 8": one number for each of several names.
_BY_NAME = re.compile(
    r"\b[A-Za-z]{2,12}: ?[$]?[0-9.]{1,12}[,;] (?!(?i:total|sum|answer|altogether|result|both|all))[A-Za-z]{2,12}: "
    r"?[$]?[0-9.]{1,12}\W*$"
)
_IN_PAIR = re.compile(r"[(\[][^()\[\]]{1,80}, ?$")
# "The answer has 5 digits": what it looks like.
_TELLS_FORM = re.compile(
    r"\b(?:answer|number|result) (?:must |should |has to )?(?:starts?|depends|varies|rhymes|ends?|begins?|contains?|"
    r"exceeds?|lies|has|"
    r"have)\b[^=]{0,20}$",
    re.IGNORECASE,
)


def stated_number(sentence: str, states: bool = False) -> str | None:
    """The number that a sentence states: in bold if anything is, behind the last "=", or else the last one.

    Args:
      sentence: one sentence.
      states: whether a sentence behind it says that this was the answer.
    """
    raw = sentence.strip(" \t\r\n").replace("\\$", "$").replace("***", "**").replace("`", "")
    if raw.startswith("**") and raw.count("**") == 2:
        raw = raw[2:].replace("**", "", 1)  # "**$250** is what he pays"
    sentence = raw.strip(" *_").rstrip(" \t\r\n*_$.,;!\"')")
    if "*" in sentence or "__" in sentence:
        sentence = _EMPHASISED.sub(lambda emphasised: next(filter(None, emphasised.groups())), sentence)
    sentence = _BRACKETS_BEHIND.sub("", sentence) if "(" in sentence else sentence
    sentence = _ARROW.sub(" = ", sentence).strip()
    sentence = _OLD_IN_BRACKETS.sub("", sentence) if "(" in sentence else sentence
    sentence = _TWICE.sub(_once, sentence) if " or " in sentence else sentence
    for circumstance in (_CIRCUMSTANCE, _PRICE):
        sentence, cut = circumstance.subn(r"\1", sentence)
        raw = sentence if cut else raw
    sentence = _HEADING.sub("", sentence)
    # Requests, plans and tales of mistakes state nothing; nor does a box that is empty or that the end cuts off.
    mishap = tells_mishap(sentence) and not _MENDED.search(sentence)
    if (
        mishap
        or raw.endswith(":")
        or _SUPPOSES.match(sentence)
        or _REQUEST.match(sentence)
        or sentence.endswith(", please")
        or plans(sentence)
        or "\\boxed" in sentence
    ):
        return None
    if _NOT_DONE.search(sentence):
        return None
    if several_sides := _APPROXIMATIONS.search(sentence):
        return several_sides[0]
    if _NUMBER_CHAIN.fullmatch(sentence):
        return sentence  # "6 -> 7 = 8" says one number only if all are one
    if (replacing := _replaced(sentence)) is not None:
        return replacing
    whole = TWO_UNITS.fullmatch(sentence) and sentence
    whole = whole or (sentence if _SQUARE_UNIT.match(sentence) else None)
    if whole:
        return whole
    # What is in bold goes before all else.
    bold = _BOLD.search(sentence) if "**" in sentence else None
    for place in [bold[1], sentence] if bold else [sentence]:
        number = _last_number(place)
        if number is None:
            continue
        if not _is_stated(sentence, place, number, states):
            return None
        if NAMED_LIST.search(sentence[-300:]):
            return several(raw)
        before, behind = place[: number.start()], place[number.end() :]
        calculated = _CALCULATED.search(before[-20:]) is not None
        value = (None if calculated else several(raw)) or with_words(before, number[0], behind, calculated)
        name = _NAME.search(before[-12:])
        return f"{name[1]} = {value}" if name else value
    return several(raw) if STATES.search(sentence) or _PLACE.search(sentence) else None


def _once(twice: re.Match[str]) -> str:
    """One value for "0.75 or 75%"; two values stay as they are."""
    first, second = (answer_number(form.replace(",", "")) for form in twice.groups())
    is_same = first is not None and second is not None and _worth(first) == _worth(second)
    return twice[1] if is_same else twice[0]


def _worth(number: AnswerNumber) -> Fraction:
    """The value of a number, of a percentage as a part of one."""
    return number.value / 100 if number.percent else number.value


def _replaced(sentence: str) -> str | None:
    """The value that a sentence says to stand for an earlier one: "32 replaces my 40"."""
    replaces = _REPLACES.match(sentence)
    return replaces[1] if replaces else None


def describes(sentence: str) -> bool:
    """Whether a sentence gives two measures of one thing, which describes it: "The bed is 8 m long and 5 m wide"."""
    numbers = list(LAST_NUMBER.finditer(sentence))
    return bool(numbers) and _TWO_MEASURES.search(sentence[: numbers[-1].start()][-80:]) is not None


def _last_number(place: str) -> re.Match[str] | None:
    """The number that counts in a part of a sentence: of "2 * 3 = 6 apples for 2 people" the first behind the "="."""
    numbers = list(LAST_NUMBER.finditer(place))
    results = [number for number in numbers if number.start() > place.rfind("=")] if "=" in place else []
    if not results:
        part = len(numbers) > 1 and _PART_OF.search(place[: numbers[-1].start()][-60:])
        return numbers[-2 if part else -1] if numbers else None
    return results[-1 if _GOES_ON.match(place, results[0].end()) else 0]


def _is_stated(sentence: str, place: str, number: re.Match[str], states: bool) -> bool:
    """Whether a sentence says that a number of it, found in the part `place`, is so."""
    before, behind = place[: number.start()], place[number.end() :]
    if not _ABOUT_ANSWERS.search(before):
        behind = _AT_FIRST.sub("", behind)  # "she had 16 at first": before what the problem tells
    if " or " in behind and re.search(r"\beither\b", before, re.IGNORECASE):
        return False
    # 1. Hedges, ranges, and values that are denied, doubted or quoted.
    if _HEDGE.search(before) or _is_range(before) or _MORE.match(behind):
        return False
    calculated = _CALCULATED.search(before[-20:]) is not None
    if calculated and is_unsolved(before):
        return False
    if (
        re.match(r" (?:hints?|clues?)\b", behind)
        or (NOT_COUNTED.match(behind) and _SPEAKER.search(before[-30:]))
        or _IN_QUESTION.search(before)
    ):
        return False
    if _BEFORE_NOW.match(behind) and re.search(r"\b(?:I|we)\b", before, re.IGNORECASE):
        return False
    if not calculated and any(pair.search(before[-80:]) for pair in (_TWO_COUNTS, _TWO_MEASURES, _OPERATOR_ALONE)):
        return False
    if re.search(r"(?:%|percent) of [$]?$", before[-14:]) and not calculated:  # "34% of 20" is still to be worked out
        return False
    if _OPERATOR_BEHIND.match(behind) and not calculated:
        return False
    if _LISTED.search(before[-8:]) and re.match(" [a-z]", behind):  # "5 and 12 are the numbers"
        return False
    # "15 more than twice as many": what is still to be worked out.
    if not calculated and _COMPARES.match(behind):
        return False
    if (
        is_quoted(before, behind)
        or _UNFINISHED.match(behind)
        or denied(behind)
        or (not calculated and not_said(before))
    ):
        return False
    if not calculated and only_carries(before, behind):
        return False
    if "answer" in sentence and unstated(before):
        return False
    # A calculation whose result is still to come: "so 16 - 3 - 4 first".
    if re.match(r" ?\u2260| ?[-+*/\u00d7\u00f7=](?: ?[0-9($\\]|\s*$)| first\b", behind) or (
        not calculated and _OPERATOR_BEFORE.search(before[-20:])
    ):
        return False
    if _BY_NAME.search(sentence) or (re.match(r"[)\]]\$? ?[A-Za-z]", behind) and _IN_PAIR.search(before)):
        return False
    if _TELLS_FORM.search(before):
        return False
    # 2. An earlier answer, unless the sentence turned to a new one.
    spoken = after_turn(sentence[: sentence.find(place) + number.start()])
    if place is sentence and "=" not in place and OLD.search(spoken[-80:]):
        return False
    # 3. A verb says so, or there is next to nothing but the number.
    # "240, I'm sure of it": a remark behind a comma does not count.
    words = behind if re.search(r"[0-9]", behind) else behind.partition(",")[0]
    alone = (not re.search(r"\w", before) or _INTERJECTION.fullmatch(before)) and len(words.split()) <= 4
    return bool(alone or states or _PLACE.search(sentence) or calculated or says(before, behind))


def _is_range(before: str) -> bool:
    """Whether the number behind these words is the end of a range: "between 2 and", "the interval is from 2 to"."""
    span = _SPAN.search(before[-60:])
    if span is None and re.search(r"[0-9] ?(?:to|or|\u2013) ?[$]?$", before[-8:]):
        return _MOVES.search(before) is None
    return span is not None and not (span[0].startswith("from") and _MOVES.search(before))
