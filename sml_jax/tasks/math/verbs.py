"""Verbs with which a sentence says how many there are: "Anthony kept 25 pencils." """

from __future__ import annotations

import re

# Verbs that only take endings, and pasts of the others.
_REGULAR = (
    "act|amount|bak|borrow|bounc|call|carri|carry|charg|clean|climb|clos|collect|complet|consum|contain|cook|"
    "count|cover|deliver|depart|donat|drop|earn|end|exercis|fill|finish|fish|gain|gather|graduat|harvest|hik|howl|"
    "includ|"
    "invit|jump|knit|last|laugh|lift|liv|load|manag|miss|mow|order|own|pack|paint|pass|pick|plant|play|pour|practic|"
    "produc|pull|push|rais|reach|receiv|repair|rest|return|sav|scor|serv|shar|shipp|ship|shoot|show|skat|smok|solv|"
    "stack|start|stay|stor|studi|study|suppli|supply|total|transport|travel|typ|us|visit|volunteer|wait|walk|wash|wast|"
    "watch|water|weigh|work|yield|cost|buy|sell|eat|drink|drive|ride|run|swim|sing|read|write|sleep|make|take|give|"
    "keep|"
    "lose|win|find|need|get|spend|pay|have|hold|bring|send|fly|grow|throw|catch|wear|cut|feed|build|lay|set aside"
)
_PASTS = (
    "kept|met|rang|sang|swam|ran|drank|ate|went|rode|drove|flew|grew|threw|caught|bought|brought|sold|held|built|wrote|"
    "slept|lost|won|found|gave|took|made|paid|sent|left|stood|sat|fed|hit|shot|sank|wore|broke|spoke|stole|got|had|"
    "spent|"
    "read|cut|laid|dug|hung|drew|fell|rose|shook|tore|wound|bred|lent|saw"
)
_ACTS = re.compile(rf"\b(?:(?:{_REGULAR})(?:e?s|e?d|e)?|{_PASTS})\b", re.IGNORECASE)
_SPEAKERS = re.compile(r"\b(?:I|me|my|we|us|our|you|your|let|please)\b(?!['\u2019])|['\u2019](?:ll|d)\b", re.IGNORECASE)


def is_act(verb: str) -> bool:
    """Whether a word is a verb of what people of a problem do, such as "pay" or "bake"."""
    return _ACTS.fullmatch(verb) is not None


def says_what_is_done(before: str) -> bool:
    """Whether the words in front of a number say what somebody other than the speakers does with that many."""
    return _ACTS.search(before[-200:]) is not None and _SPEAKERS.search(before) is None
