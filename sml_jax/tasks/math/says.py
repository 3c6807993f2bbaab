"""Whether the clause around a number says that it is so, or only carries it.

A clause states its number in one of a few forms: a speaker says what came out ("I get 5"), a verb in the indicative has
it behind or before it ("She keeps 5", "5 are left"), or next to nothing stands beside it ("So 5 eggs"). What may be so,
what speakers did or are, earlier answers, and numbers of operations ("the division by 5") are only carried.
"""

from __future__ import annotations

import re

from sml_jax.tasks.math.judged import is_doubtful
from sml_jax.tasks.math.verbs import is_act, says_what_is_done

_READ_CHARACTERS = 120  # of the words on either side of a number
# A clause ends at one of these, unless a list of numbers goes on there, and another one begins behind it.
_CLAUSE = re.compile(
    r"(?<![0-9.)]), |(?<=[0-9)]), (?=[A-Za-z])(?!and |or )|[:;\u2014] |\b(?:and|or) (?=[A-Za-z])|"
    r"(?<!must )(?<!will )(?<!can )\b(?:so|but|then|thus|hence|therefore|which|because)\b[ ,]*",
    re.IGNORECASE,
)
_ADVERBS = (
    r"(?: (?:now|still|also|just|then|again|therefore|finally|only|do|indeed|actually|instead|all|simply|each|pretty|"
    r"quite|very|fairly|rather|really|am|are|have|will|would|should|must|can|could|'d|like to|want to))*"
)
_SPEAKER = re.compile(
    r"(?:(?:now|also|again|actually|finally|still|instead|overall|altogether|here|there|yes|no|okay|ok|right|well|"
    r"in all|in total|this time|(?:[a-z]{2,10}ing|after|with|without|from|for|in|by|at|on|using|based on|thanks to) "
    r"[^,]{1,60}?)\b,? "
    r"){0,2}(?:I|we|you)(?:['\u2019](?:m|ve|d|ll|re))?(?= )",
    re.IGNORECASE,
)
# What speakers think is so: the clause behind it is theirs.
_OPINION = re.compile(
    rf"{_ADVERBS} (?:think|believe|guess|reckon|suppose|bet|say|see|know|figure|calculate|estimate|gather|conclude|"
    rf"find|found|feel|sure|certain|"
    r"confident|convinced|positive)(?: that)? ",
    re.IGNORECASE,
)
# What came out for speakers, in the present or with "should have"; a past is told only of what was found.
_GETS = re.compile(
    rf"{_ADVERBS} (?:gets?(?: to)?|got(?: to)?|gotten|getting|have|find|found|obtain(?:ed)?|calculated?|computed?|"
    rf"counte?d?|derived?|"
    r"reach(?:ed)?|arrived? at|c[ao]me (?:to|up with|out (?:at|with))|(?:end|wind|ended|wound|ending) up (?:with|at)|"
    r"left with|conclude[ds]?|estimated?|think|believe|guess|reckon|bet|choos(?:e|ing)|pick(?:ing)?|go(?:ing)? "
    r"(?:with|for)|(?:stick|"
    r"stay)(?:ing)? (?:with|to|at)|stand by|(?:happy|fine|okay) with|leaning towards?|vot(?:e|ing) for|settled? (?:on|"
    r"for)|"
    r"(?:put|place|set) it at|looking at|give|submit|enter|write|put(?:ting)? down|meant?|make (?:it|that)|need|owe|"
    r"at|(?:(?<=have )|mean to |"
    r"want to )?(?:say|said|written)|replac(?:e|ed|ing) .{1,40} (?:by|with)|(?:chang|revis|correct|updat|switch|amend|"
    r"adjust)[a-z]{0,3}\b.{0,40}? to|(?!(?:supposed|expected|asked|trying|hoping|unable|told)\b).{1,60} to (?:get|"
    r"obtain|reach))(?: (?:my|the|our|an?) (?:[a-z]{1,12} ){0,2}?(?:answer|result|total|sum|value|number|cost|price|"
    r"length|area|amount)(?: (?:of|is|to|as|to be))?)?(?: (?:it|that|exactly|just|only|about|around|roughly|"
    r"approximately|a total of|the same|still|now|to be|as|(?:the |an? )?(?:point|pair|interval|set|list|vertex|"
    r"ratio)))*(?: [(\[{]?-?[0-9.]{1,12},(?: and)?)* ?[-$\u00a3\u20ac*`\"'(\[{]*",
    re.IGNORECASE,
)
# What speakers do in a problem that is told of them: "We will pay 5", "You can buy 5", "I need to sell 5".
_ACTS = re.compile(
    rf"(?:{_ADVERBS} (?:need|pay|owe|spend|earn|save|lose|keep|make|receive|buy|sell)|(?: [a-z]{{2,12}})?"
    r"(?: (?:will|would|can|could|must|should|need to|have to)) (?:only |still |then |each )?([a-z]{2,12}))"
    r"(?: (?!your|my|help|more|some|another)[a-z']{1,12}){0,3} ?[$]?",
    re.IGNORECASE,
)
# The ways in which a clause only carries its number, whoever it is told of.
_CARRIED_AS = {
    "what may be": (
        r"(?-i:\bmay\b)|\bmight\b|\bcould (?:well |also |perhaps |just )?(?:be|take|have|cost|need|lie|come|get|end|"
        r"turn|amount|equal|reach|make)\b"
    ),
    "what is supposed": r"\b(?:let['\u2019]?s|let us) (?:say|assume|pretend)\b",
    "what is judged": (
        r"\b(?:it|that)(?:['\u2019]s| is| was| seems) (?:[a-z]{4,12} )?(?:im|un|in)?(?:possible|likely|probable|"
        r"plausible|wrong|false|thinkable|strange|odd|doubtful|conceivable) that\b|"
        r"\b(?:hard|difficult|impossible|tough) to [a-z]{2,12} (?:that|how|why)\b"
    ),
    "what would be silly": r"\b(?:silly|wrong|foolish|nonsense|absurd|stupid|strange|ridiculous|tempting|tempted|"
    r"easy) to (?:say|think|"
    r"claim|answer)\b",
    "what others say": (
        r"\b(?:they|people|some|others|everyone|everybody|he|she) (?:[a-z]{2,8} )?(?:say|says|claim|claims|think|"
        r"thinks|believe|believes)\b"
    ),
    "an operation": (
        r"\b(?:divi[ds]|multipl|subtract|addi|adding|factor)[a-z]{0,10}(?: [a-z0-9.]{1,12}){0,3} (?:by|from|with) [$]?$"
    ),
    "an earlier answer": (
        r"\b(?:my|your|our|his|her|their) (?:[a-z]{1,12} ){0,3}?(?:answer|result|guess|solution|attempt|choice|pick|"
        r"response|"
        r"reply)(?: (?:then|before))? (?:was|had been|used to be)\b|\b(?:number|value|answer|result|"
        r"one) (?:that )?(?:I|we|you) (?:gave|said|wrote|put|had|submitted|guessed|used|mentioned) (?:was|were|is)\b"
    ),
    "a number that stands somewhere": r"\bthere(?:['\u2019]s| is) an? $",
    "how long it took a speaker": r"\btook me\b",
    "what was so before": r"\balready\b",
    "a thing that is known": (
        r"(?<!is )(?<!are )(?<!was )(?<!were )(?<!be )\b(?:the|this|these|those|your|another) [$]?$"
    ),
    "a thing of the speakers": (
        r"\A\W*(?:my|your) (?!(?:[a-z]{1,12} ){0,3}?(?:answer|result|total|sum|calculation|solution|guess|count|"
        r"estimate|conclusion|attempt|try|value|work|math|reasoning|final|new|corrected|second|third|next|latest|"
        r"current|last|choice|pick|option|vote|selection|response)\b)"
    ),
}
_CARRIES = re.compile("|".join(_CARRIED_AS.values()), re.IGNORECASE)
# Behind a number: it belongs to the talk of the speakers.
_OF_TALK = re.compile(
    r"(?: [a-z]{2,15}){0,2} (?:more )?to go\b|(?: [a-z]{2,15}){0,2} (?:(?:left )?to|that (?:must|has|have)) (?:be |to "
    r"be )?(?:add|subtract|divi|multipl|"
    r"take off|consider|use)|[^,.;]{0,40}\b(?:in|of|from|with) (?:your|my)\b|[^,.;]{0,30} (?:on|for|"
    r"with) this(?: one)?\b\W*$|[^.;]{0,60}, (?:as )?you (?:just |already )?(?:told|said|mentioned|wrote|gave|"
    r"explained|write|say|tell|mention)\b|[^.;]{0,60}, (?:it|they|the [a-z]{3,12}) (?:says?|said|tells?|states?)\b",
    re.IGNORECASE,
)
# "My guess of 5", "The answer 5": the number is a part of the subject.
_SUBJECT = re.compile(
    r"(?:[a-z']{1,12} ){0,3}(?:it being|of|answer|result|value|number|guess|option) ?[$]?", re.IGNORECASE
)
# What a bare value may be the result of: "Including the fee, 5 dollars".
_ADJUNCT = re.compile(
    r"(?:so |then )?(?:an? (?:[a-z]{3,15} ){1,2}of (?:about )?|(?:in|on|at)(?: the)?(?: year)? )[$]?|"
    r"(?:so |then )?(?:including|with|without|adding|counting|after|together with|for) [^,0-9]{1,60}, ?[$]?",
    re.IGNORECASE,
)
_ONE_WORD = re.compile(r"[A-Z][a-z]{1,12}(?:-[a-z]{2,12})?, ?[$]?")  # "Okey-dokey, 5 shirts"
_AFTER_COMMA = re.compile(r"(?<!so)(?<!then)(?<!thus)(?<!hence)(?<!therefore),\W*$", re.IGNORECASE)
# Verbs and signs with which a clause states its number.
STATES = re.compile(
    r"[=\u2248:\u2192]|['\u2019]s\b|\b(?:is|are|was|were|be|equals?|makes?|made|total|gives?|gets?|got|has|have|had|"
    r"yields?|shows?|produces?|returns?|costs?|cost|takes?|took|needs?|needed|pays?|paid|earns?|earned|spends?|spent|"
    r"sells?|sold|leaves?|left|remains?|remaining|eats?|ate|saves?|saved|uses?|used|buys?|bought|receives?|received|"
    r"did|does|do|weighs?|reads?|drives?|drove|runs?|ran|works?|worked|contains?|becomes?|answer|came|comes|adds? up|"
    r"sums? up|amounts?|went|say|says|result|find|found|leaving|giving|making|sum|product|difference|corrected|okay|"
    r"altogether|in total|in all|overall|(?:looks|seems) like|ends? up|leads? to|go(?:ing)? with|picking|choosing|"
    r"(?:chang|switch|revis|updat)ing .{1,40} to|submit|means|fits?(?: in(?:to)?)?|corresponds? to|goes to|"
    r"match(?:es)?|"
    r"satisfies|replaced (?:by|with)|"
    r"goe?s? into|(?:(?:increas|decreas|dropp|shrink|grow)(?:s|ed|es)?|r[io]ses?|f[ae]lls?|gr[eo]ws?|(?:went|goes|is|"
    r"are) (?:up|down)) by|getting|actually|rounds? (?:up|down)|(?:can|will|must|should|would)(?: [a-z]{2,12}){1,2})\b",
    re.IGNORECASE,
)
# Somebody, what they do, and how much: "She swims 7 times".
_DOES = re.compile(
    r"\b(?:(?:[Ss]he|[Hh]e|[Tt]hey|[Ii]t)(?:['\u2019]ll)? (?:only |also |now |then |still |all )?(?!(?:and|or|not|to|"
    r"in|of|at|on|with|for|than|should|can|could|may|might)\b)[a-z]{2,14}|(?:[A-Z][a-z]{2,14}|(?:[Tt]he|[Aa]n?|[Hh]is|"
    r"[Hh]er|[Tt]heir|[Ee]ach|[Ee]very) [a-z]{2,14}) (?:only |also |now |then )?[a-z]{2,14}(?:s|ed|ew|ook|ote|ove|ang|"
    r"ame|old|ent|ave)|[Tt]h(?:at|is) (?:all )?[a-z]{2,14}s) (?:(?:it|them) )?(?:(?:(?:up|down|out|back) )?(?:with|to|"
    r"at|as|for|in|out|after|within) )?(?:a total of |only |about )?[$]?$"
)


# "I need 5 more minutes": time for the talk.
_ASKS_FOR = re.compile(
    r"\b(?:I|we)(?: just| still|['\u2019]d| would)? need(?: about| around| at least)? ?$|\bgive me ?$", re.IGNORECASE
)
_FOR_THE_TALK = re.compile(r" more (?:minutes?|seconds?|moments?|hints?|examples?|problems?|tries|weeks? of)\b")
_HOW_OFTEN_IT_CAN = re.compile(r"\b(?:can|could|must|will|(?:has|have|need|needs) to|['\u2019]d)\b", re.IGNORECASE)


def says(before: str, behind: str) -> bool:
    """Whether the clause around a number has a form that states it; `before` and `behind` are the sentence's words."""
    clause, rest = _clause(before), _CLAUSE.split(behind[:_READ_CHARACTERS].lstrip(" ,"), maxsplit=1)[0]
    told, speaks = _told(clause)
    return bool(
        speaks
        or _ADJUNCT.fullmatch(before)
        or _ONE_WORD.fullmatch(before)
        or (not told.strip(" $(") and (not _AFTER_COMMA.search(before) or STATES.search(before)))
        or STATES.search(clause)
        or STATES.search(rest)
        or _DOES.search(clause)
        or says_what_is_done(clause)
    )


def only_carries(before: str, behind: str) -> bool:
    """Whether the clause around a number mentions it without saying that it is so."""
    clause = _clause(before)
    told, speaks = _told(clause)
    # The number, or what it is the number of, is what the clause speaks of.
    if (not re.search("[a-z]", told) or _SUBJECT.fullmatch(clause)) and is_doubtful(behind):
        return True
    if _CARRIES.search(clause) or _OF_TALK.match(behind):
        return True
    if _ASKS_FOR.search(clause) and _FOR_THE_TALK.match(behind):
        return True
    # "You can subtract 9 from 63 exactly 7 times" tells how often.
    if re.match(r" times\b(?! (?:the|as|[0-9]))", behind) and _HOW_OFTEN_IT_CAN.search(clause):
        return False
    if not speaks or _GETS.fullmatch(told):
        return False
    act = _ACTS.fullmatch(told)
    return act is None or (act[1] is not None and not is_act(act[1]))


def _told(clause: str) -> tuple[str, bool]:
    """What a clause tells, without opinions in front, and whether it tells it of its speaker.

    "I think I get" tells " get" of the speaker, and "I think it is" tells "it is" of something else.
    """
    speaker = _SPEAKER.match(clause)
    while speaker and (opinion := _OPINION.match(clause, speaker.end())):
        clause = clause[opinion.end() :]
        speaker = _SPEAKER.match(clause)
    return (clause[speaker.end() :], True) if speaker else (clause, False)


def _clause(before: str) -> str:
    """The part of the words in front of a number that is in the number's own clause."""
    before = before[-_READ_CHARACTERS:]
    ends = [end.end() for end in _CLAUSE.finditer(before)]
    return before[max(ends, default=0) :]
