"""The claims about what was never trained on: C4, C12, C13 and C15."""

from __future__ import annotations

from sml_jax.claims.job import BASE, DOMAINS
from sml_jax.claims.measure import Claim, above, compare, difference, double_difference
from sml_jax.claims.results import Results
from sml_jax.claims.success_claims import LAST_TURN, solved


def claim_4(results: Results) -> Claim:
    """Transfer to the domain that was not trained on."""
    measures = []
    for domain in results.domains:
        (other,) = (name for name in DOMAINS if name != domain)
        # The base's numbers on the other domain are in that domain's job.
        trained = [solved("online", domain, arm, suite=other) for arm in ("feedback", "retry")]
        base = [solved(BASE, other, arm) for arm in ("feedback", "retry")]
        measures += [
            compare(
                results,
                f"success@4 on {other}, online minus base",
                domain,
                [trained[0], base[0]],
                difference,
                above(0),
            ),
            compare(
                results,
                f"feedback minus retry at turn 4 on {other}, online minus base",
                domain,
                [*trained, *base],
                double_difference,
                above(0),
            ),
        ]
    return Claim("C4", "what was learnt carries over to the domain that was not trained on", tuple(measures))


def claim_12(results: Results) -> Claim:
    """Problems whose goal changes at the second turn."""
    measures = []
    for domain in results.domains:
        # Only the game can tell the new goal, so that it is the teacher in both arms: `game_retry` does not criticise.
        suite = f"evolving_{domain}"
        trained, trained_retry = (
            solved("online", domain, arm, turn=LAST_TURN, suite=suite) for arm in ("game", "game_retry")
        )
        base, base_retry = (solved(BASE, domain, arm, turn=LAST_TURN, suite=suite) for arm in ("game", "game_retry"))
        measures += [
            compare(
                results,
                "success@10 after the change, online minus base",
                domain,
                [trained, base],
                difference,
                above(0),
            ),
            compare(
                results,
                "feedback minus retry at turn 10 after the change, online minus base",
                domain,
                [trained, trained_retry, base, base_retry],
                double_difference,
            ),
        ]
    return Claim("C12", "goals that change within the dialogue", tuple(measures))


def claim_13(results: Results) -> Claim:
    """The maze and the word puzzle, which no recipe trains on."""
    measures = []
    for domain in results.domains:
        for suite in ("maze", "words"):
            # The game itself may say more than the base, which speaks as in training.
            for arm, expected in (("feedback", above(0)), ("game", None)):
                columns = [
                    solved(policy, domain, name, turn=LAST_TURN, suite=suite)
                    for policy in ("online", BASE)
                    for name in (arm, "retry")
                ]
                measures.append(
                    compare(
                        results,
                        f"{suite}: {arm} minus retry at turn 10, online minus base",
                        domain,
                        columns,
                        double_difference,
                        expected,
                    )
                )
    return Claim("C13", "a maze and a word puzzle, never trained on", tuple(measures))


def claim_15(results: Results) -> Claim:
    """A teacher of another manner, never met in training."""
    measures = []
    for domain in results.domains:
        trained, trained_retry = (solved("online", domain, arm) for arm in ("other_manner", "retry"))
        base, base_retry = (solved(BASE, domain, arm) for arm in ("other_manner", "retry"))
        measures += [
            compare(
                results,
                "success@4 with a teacher of another manner, online minus base",
                domain,
                [trained, base],
                difference,
                above(0),
            ),
            compare(
                results,
                "other manner minus retry at turn 4, online minus base",
                domain,
                [trained, trained_retry, base, base_retry],
                double_difference,
                above(0),
            ),
        ]
    return Claim("C15", "it is the skill, not the teacher's manner", tuple(measures))
