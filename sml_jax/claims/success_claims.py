"""The claims about success: C1 to C3, C8 and C10, and the main claim in one row for each domain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sml_jax.claims.job import BASE, POLICIES, TRIES
from sml_jax.claims.measure import (
    Claim,
    Column,
    Expected,
    Measure,
    above,
    compare,
    difference,
    double_difference,
    mean,
    solved_by,
    within,
)
from sml_jax.claims.results import Results

LAST_TURN = 10  # of evaluation dialogues
_TURN = 4  # the last one of training dialogues
_CONTROLS = ("retry", "shuffled", "uninformed")
_TEACHER_MARGIN = 10.0  # points: what C8 calls little


def solved(policy: str, domain: str, arm: str = "feedback", *, turn: int = _TURN, suite: str = "") -> Column:
    """Which problems a policy solved; `suite` is its own domain's if "" is given."""
    return Column(policy, domain, suite or domain, arm, solved_by(turn))


def claim_main(results: Results) -> Claim:
    """Online SML over the base, and over teachers that say nothing of use."""
    measures = []
    for domain in results.domains:
        trained = solved("online", domain)
        measures.append(
            compare(
                results,
                "success@4, online minus base",
                domain,
                [trained, solved(BASE, domain)],
                difference,
                above(0),
            )
        )
        for arm in ("retry", "shuffled"):
            measures.append(_gap(results, "online", domain, arm, above(0)))
    return Claim("main", "online SML teaches the student to use feedback", tuple(measures))


def claim_1(results: Results) -> Claim:
    """Success in conversation on problems that the base never solves alone."""
    measures = [
        compare(
            results,
            "success@4 on problems that the base never solves in 8 single tries, online minus base",
            domain,
            [solved("online", domain), solved(BASE, domain), _never_solved(domain)],
            _difference_where,
            above(0),
        )
        for domain in results.domains
    ]
    return Claim("C1", "solves in conversation what it cannot in one turn", tuple(measures))


def _never_solved(domain: str) -> Column:
    """1 for problems that the base solved in none of its single tries. It tried once, for all seeds."""

    def read(entry: Mapping[str, Any]) -> np.ndarray:
        return np.array([float(count == 0) for count in entry["solved_tries"]])

    return Column(BASE, domain, TRIES, "feedback", read, one_seed=True)


def _difference_where(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """The difference of means over the problems where `where` is 1."""
    return difference(one[where > 0], other[where > 0])


def claim_2(results: Results) -> Claim:
    """The order of the stages, and the conversation against as many single turns."""
    measures = []
    for domain in results.domains:
        for one, other in (
            ("online", "offline"),
            ("offline", BASE),
            ("offline", "single_sft"),
            ("online", "single_rl"),
        ):
            unequal = _unequal_budgets(results, one, other, domain) if other.startswith("single") else ""
            pair = [
                compare(
                    results,
                    f"success@4, {one} minus {other}",
                    domain,
                    [solved(one, domain), solved(other, domain)],
                    difference,
                    above(0),
                ),
                compare(
                    results,
                    f"feedback minus retry at turn 4, {one} minus {other}",
                    domain,
                    [solved(policy, domain, arm) for policy in (one, other) for arm in ("feedback", "retry")],
                    double_difference,
                    above(0),
                ),
            ]
            # A comparison at unequal budgets is none at all.
            if unequal:
                pair = [dataclasses.replace(measure, interval=None, reason=unequal) for measure in pair]
            measures += pair
    return Claim(
        "C2", "online over offline over base; SML over single-turn SFT and RL at equal generations", tuple(measures)
    )


def _unequal_budgets(results: Results, one: str, other: str, domain: str) -> str:
    """What is wrong with the numbers of student turns that two policies could take in training; "" for nothing."""
    budgets = {
        policy: {
            training["generations"]
            for seed in results.seeds(policy, domain)
            if (training := results.training(policy, domain, seed)) is not None
        }
        for policy in (one, other)
    }
    if not all(budgets.values()) or len(set.union(*budgets.values())) == 1:
        return ""
    texts = [f"{policy} {', '.join(map(str, sorted(counts)))}" for policy, counts in budgets.items()]
    return f"the generations differ: {'; '.join(texts)}"


def claim_3(results: Results) -> Claim:
    """Dialogues longer than those of training."""
    measures: list[Measure] = []
    for domain in results.domains:
        late, early = (solved("online", domain, turn=turn) for turn in (LAST_TURN, _TURN))
        base_late, base_early = (solved(BASE, domain, turn=turn) for turn in (LAST_TURN, _TURN))
        measures += [
            compare(
                results,
                "success@10 minus success@4, online minus base",
                domain,
                [late, early, base_late, base_early],
                double_difference,
                above(0),
            ),
            # A student that solves most by turn 4 has little left to gain, which these two leave out.
            compare(
                results,
                "of what is unsolved at turn 4, solved by turn 10, online minus base",
                domain,
                [late, early, base_late, base_early],
                _later_share_difference,
            ),
            compare(results, "success@10 minus success@4, online", domain, [late, early], difference),
        ]
    return Claim("C3", "longer dialogues than in training help more than they help the base", tuple(measures))


def _later_share(late: np.ndarray, early: np.ndarray) -> float:
    """Of the problems that are unsolved early, the percentage that is solved late."""
    unsolved = 100.0 - mean(early)
    return 100.0 * difference(late, early) / unsolved if unsolved else float("nan")


def _later_share_difference(
    late: np.ndarray, early: np.ndarray, base_late: np.ndarray, base_early: np.ndarray
) -> float:
    """How much larger that percentage is than the base's."""
    return _later_share(late, early) - _later_share(base_late, base_early)


def claim_8(results: Results) -> Claim:
    """A teacher that is never wrong, against the frozen base, in training."""
    measures = [
        compare(
            results,
            "success@4, trained with the scripted teacher minus trained with the base",
            domain,
            [solved("online_scripted", domain), solved("online", domain)],
            difference,
            within(_TEACHER_MARGIN),
        )
        for domain in results.domains
    ]
    return Claim("C8", "a stronger teacher matters little in training", tuple(measures))


def claim_10(results: Results) -> Claim:
    """Feedback against the control arms, for every policy."""
    measures = [
        _gap(results, policy, domain, arm, above(0) if policy in ("online", "offline") else None)
        for policy in sorted(POLICIES, key=lambda name: name != "online")
        for domain in results.domains
        for arm in _CONTROLS
    ]
    return Claim("C10", "it is the feedback that helps, for every control", tuple(measures))


def _gap(results: Results, policy: str, domain: str, arm: str, expected: Expected | None) -> Measure:
    """How much more a policy solves by turn 4 with feedback than in a control arm."""
    return compare(
        results,
        f"feedback minus {arm} at turn 4, {policy}",
        domain,
        [solved(policy, domain), solved(policy, domain, arm)],
        difference,
        expected,
    )
