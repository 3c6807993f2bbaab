"""Words around equal values that say opposite things: "a loss of 5" and "a gain of 5", "Day 5" and "Week 5"."""

from __future__ import annotations

import re

# Groups of words, each of which contradicts the others.
_GROUPS = [
    "up down",
    "minimum maximum min max minima maxima",
    "increasing decreasing",
    "even odd",
    "converges diverges convergent divergent",
    "true false",
    "yes no",
    "positive negative",
    "left right",
    "above below",
    "am pm",
    "local absolute global",
    "symmetric antisymmetric",
    "north south east west",
    "january february march april may june july august september october november december",
    "monday tuesday wednesday thursday friday saturday sunday",
    "clockwise counterclockwise anticlockwise",
    "inside outside",
    "before after",
]
# Beginnings of words; those of one side contradict those of the other.
_SIDES = [
    (
        ("increas", "ris", "rose", "grew", "grow", "gain", "profit", "more", "surplus"),
        (
            "decreas",
            "reduc",
            "drop",
            "fell",
            "fall",
            "los",
            "declin",
            "less",
            "fewer",
            "discount",
            "deficit",
            "down",
            "cut",
            "short",
            "sank",
            "sink",
            "sunk",
            "fall",
            "lower",
        ),
    ),
    (("faster",), ("slower",)),
    (("earl", "sooner"), ("late",)),
    (("warm", "hotter"), ("cold", "cool")),
    (("bigger", "larger", "greater"), ("smaller",)),
    (("wider", "deeper", "thicker"), ("narrower", "shallower", "thinner")),
    (("taller", "longer", "older", "heavier", "higher"), ("shorter", "younger", "lighter", "lower")),
]
# What a number counts where it stands before it: "Day 5".
_LABEL = re.compile(
    r"\W*(day|week|month|year|hour|minute|page|chapter|room|grade|level|round|step|stage|lesson|line|row|column|"
    r"figure|box|step|unit|volume|book|lane|gate|seat|locker|shelf|track|route|"
    r"bag|door|house|team|bus|train|floor|option|case|equation|plan|machine|tank|jar|player|group|class)s? #?[0-9]",
    re.IGNORECASE,
)
# Somebody's name, beside a number: "Alice by 5".
_PROPER = re.compile(r"(?<![\\A-Za-z])[A-Z][a-z]{2,12}(?= (?:by |has |is |with )?[0-9])")
_NO_NAMES = {"The", "About", "Total", "Answer", "Only", "Exactly", "Approximately", "Around", "Just", "Roughly"}
_NO_NAMES |= {"Area", "Sum"}
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z']{2,}")
_MOST_CHARACTERS = 400


def say_opposites(gold: str, attempt: str) -> bool:
    """Whether the words of two canonical answers contradict each other, or their numbers count other things."""
    if max(len(gold), len(attempt)) > _MOST_CHARACTERS:
        return False
    names = [set(_PROPER.findall(text)) - _NO_NAMES for text in (gold, attempt)]
    if names[0] and names[1] and not names[0] & names[1]:
        return True
    gold, attempt = (re.sub(r"\b([AaPp])\. ?[Mm]\b\.?", r"\1m", text) for text in (gold, attempt))
    labels = _LABEL.match(gold), _LABEL.match(attempt)
    if labels[0] and labels[1] and labels[0][1].lower() != labels[1][1].lower():
        return True
    return opposite_words(*({word.lower() for word in _WORD.findall(text)} for text in (gold, attempt)))


def opposite_words(gold: set[str], attempt: set[str]) -> bool:
    """Whether two sets of words, in small letters, contradict each other."""
    for group in (set(group.split()) for group in _GROUPS):
        if gold & group and attempt & group and gold & group != attempt & group:
            return True
    for sides in _SIDES:
        (gold_first, gold_second), (first, second) = (
            [any(word.startswith(side) for word in words) for side in sides] for words in (gold, attempt)
        )
        if gold_first != gold_second and first != second and gold_first != first:
            return True
    return False
