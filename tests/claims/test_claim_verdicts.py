"""Each claim on made-up results: its number, and what it says where the effect is there, reversed, or not measured."""

import dataclasses

import numpy as np
import pytest
from claims_toys import POINTS, PROBLEMS, MadeUp

from sml_jax.claims.behaviour_claims import claim_5, claim_6, claim_7, claim_9, claim_11, claim_14
from sml_jax.claims.claims import CLAIMS, measure_claims
from sml_jax.claims.intervals import Interval
from sml_jax.claims.measure import Claim, Column, Measure, above, below, compare, difference, solved_by, within
from sml_jax.claims.results import Results
from sml_jax.claims.success_claims import claim_1, claim_2, claim_3, claim_8, claim_10, claim_main
from sml_jax.claims.transfer_claims import claim_4, claim_12, claim_13, claim_15
from sml_jax.common.errors import UserError

CONTROLS = ("retry", "shuffled", "uninformed")


def flipped(*policies):
    """The policies the other way round, for results in which an effect is reversed."""
    return policies[::-1]


def main_results(one="online", other="base"):
    made = MadeUp()
    made.solve(one, "feedback", 24)
    made.solve(other, "feedback", 8)
    for arm in CONTROLS:
        # What is good in conversation is bad without feedback, so that reversing it reverses the gaps too.
        made.solve(one, arm, 6)
        made.solve(other, arm, 20)
    return made


def hard_results(one="online", other="base"):
    made = main_results(one, other)
    # The first ten problems are solved by single tries. Of the other thirty, `one` solves 14 + s and `other` 0.
    counts = [1] * 10 + [0] * (PROBLEMS - 10)
    made.numbers("base", "tries", "feedback", solved_tries=counts, tries=8)
    # One seed has the tries, and its hard problems are those of all seeds.
    for seed in (1, 2):
        del made.records["base", "math", seed]["suites"]["tries"]
    return made


def order_results(reverse=False):
    made = MadeUp()
    order = ["base", "offline", "online"]
    for rank, policy in enumerate(order[::-1] if reverse else order):
        made.solve(policy, "feedback", 4 + 12 * rank)
        made.solve(policy, "retry", 4)
    for policy in ("single_sft", "single_rl"):
        made.solve(policy, "feedback", 4 + 36 * reverse - 4 * reverse)
        made.solve(policy, "retry", 4)
    for policy, generations in {"online": 100, "single_rl": 100, "offline": 20, "single_sft": 20}.items():
        made.train(policy, generations=generations)
    return made


def later_results(one="online", other="base"):
    made = MadeUp()
    made.solve(one, "feedback", 8, 24)
    made.solve(other, "feedback", 8, 4)
    return made


def away_results(one="online", other="base"):
    made = MadeUp()
    # The base's numbers on the other domain are those of the other domain's job.
    for policy, early in ((one, 24), (other, 8)):
        domain = "code" if policy == "base" else "math"
        made.solve(policy, "feedback", early, domain=domain, suite="code")
        made.solve(policy, "retry", 4, domain=domain, suite="code")
    return made


def sharded_results(one, other, better=True):
    made = MadeUp()
    for policy, good in ((one, better), (other, not better)):
        # Eight instructions of ten simulations: half are solved more often by the good one.
        solved = [10, 6, 8, 4, 10, 8, 6, 10] if good else [2, 0, 4, 1, 2, 0, 1, 3]
        made.numbers(
            policy,
            "sharded_math",
            "sharded",
            solved_simulations=solved,
            simulations=10,
            premature=[2, 1, 0, 2, 1, 0, 1, 2] if good else [9, 8, 9, 10, 9, 8, 10, 9],
            questions=[8, 9, 8, 7, 9, 8, 10, 9] if good else [1, 0, 0, 1, 2, 1, 0, 0],
        )
        concat = dict(solved_simulations=[10] * 8, simulations=10, premature=[0] * 8, questions=[0] * 8)
        made.numbers(policy, "sharded_math", "concat", **concat)
    return made


def loglik_results(one="online", other="base"):
    made = MadeUp()
    made.numbers(one, "math", "feedback", loglik_change=[0.5, 0.7, 0.6, None, 0.6, 0.4])
    made.numbers(other, "math", "feedback", loglik_change=[-0.1, 0.1, 0.0, 0.0, None, 0.05])
    return made


def self_results(better=True):
    made = MadeUp()
    for policy in ("online_critique", "critique"):
        made.solve(policy, "self_critique", 24 if better else 6)
    for policy in ("online", "base"):
        made.solve(policy, "self_critique", 6 if better else 24)
    return made


def credit_results(fast=5, slow=15):
    made = MadeUp()
    made.train("online_credit", reached_after=fast)
    made.train("online", reached_after=slow)
    # Seeds differ, and their ratio does not.
    for policy in ("online_credit", "online"):
        made.record(policy, "math", 2)["training"]["dialogues_by_step"] = 20
    return made


def changing_results(one="online", other="base"):
    made = MadeUp()
    for policy, early in ((one, 24), (other, 8)):
        made.solve(policy, "game", 4, early - 4, suite="evolving_math")
        made.solve(policy, "game_retry", 4, suite="evolving_math")
    return made


def game_results(one="online", other="base"):
    made = MadeUp()
    for suite in ("maze", "words"):
        for policy, early in ((one, 24), (other, 8)):
            made.solve(policy, "game", 4, suite=suite)
            made.solve(policy, "feedback", early, suite=suite)
            made.solve(policy, "retry", 4, suite=suite)
    return made


def flip_results(one="base", other="online"):
    made = MadeUp()
    for arm in ("doubt", "misleading"):
        made.numbers(one, "math", arm, flips=[1, 1, 0, 1, 2, None, 1, 1, 1, 0] * 4)
        made.numbers(other, "math", arm, flips=[0, 0, 0, 1, 2, None, None, 0, 0, 0] * 4)
    return made


def manner_results(one="online", other="base"):
    made = MadeUp()
    for policy, early in ((one, 24), (other, 8)):
        made.solve(policy, "other_manner", early)
        made.solve(policy, "retry", 4)
    return made


def teacher_results(scripted):
    made = MadeUp()
    made.solve("online", "feedback", 20)
    made.solve("online_scripted", "feedback", scripted)
    return made


# The claim, results in which it holds with its first number, and results in which it fails.
KNOWN = {
    "main": (claim_main, main_results(), 16 * POINTS, main_results(*flipped("online", "base"))),
    "C1": (claim_1, hard_results(), 15 / 30 * 100, hard_results(*flipped("online", "base"))),
    "C2": (claim_2, order_results(), 12 * POINTS, order_results(reverse=True)),
    "C3": (claim_3, later_results(), 20 * POINTS, later_results(*flipped("online", "base"))),
    "C4": (claim_4, away_results(), 16 * POINTS, away_results(*flipped("online", "base"))),
    "C5": (claim_5, sharded_results("online", "base"), 61.25, sharded_results("online", "base", better=False)),
    "C6": (
        claim_6,
        sharded_results("qpriming_online", "online"),
        (68 - 5) / 80,
        sharded_results("qpriming_online", "online", better=False),
    ),
    "C7": (claim_7, loglik_results(), 0.56, loglik_results(*flipped("online", "base"))),
    "C8": (claim_8, teacher_results(21), POINTS, teacher_results(30)),
    "C9": (claim_9, self_results(), 18 * POINTS, self_results(better=False)),
    "C10": (claim_10, None, 18 * POINTS, None),
    "C11": (claim_11, credit_results(), 80 / 180, credit_results(fast=15, slow=5)),
    "C12": (claim_12, changing_results(), 16 * POINTS, changing_results(*flipped("online", "base"))),
    "C13": (claim_13, game_results(), 16 * POINTS, game_results(*flipped("online", "base"))),
    "C14": (claim_14, flip_results(), 100 * (1 / 8 - 6 / 9), flip_results(*flipped("base", "online"))),
    "C15": (claim_15, manner_results(), 16 * POINTS, manner_results(*flipped("online", "base"))),
}
KNOWN["C10"] = (claim_10, main_results("online", "offline"), 18 * POINTS, KNOWN["main"][3])
# C10 wants the gaps of both stages.
for arm, early in {"feedback": 24, **dict.fromkeys(CONTROLS, 6)}.items():
    KNOWN["C10"][1].solve("offline", arm, early)


def test_every_claim_has_its_known_answer():
    assert [claim(Results({})).name for claim in CLAIMS] == list(KNOWN) == ["main", *(f"C{i}" for i in range(1, 16))]


@pytest.mark.parametrize("name", KNOWN)
def test_a_claim_with_its_effect_holds_and_gives_its_number(name):
    claim, made, estimate, _ = KNOWN[name]
    measured = claim(made.results())
    assert measured.verdict == "holds", [(m.name, m.interval, m.reason) for m in measured.measures]
    first = measured.measures[0]
    assert first.interval.estimate == pytest.approx(estimate) and first.interval.seeds == 3 and first.reason == ""
    assert first.interval.low <= estimate <= first.interval.high


@pytest.mark.parametrize("name", KNOWN)
def test_a_claim_with_its_effect_reversed_fails(name):
    claim, *_, made = KNOWN[name]
    measured = claim(made.results())
    assert measured.verdict == "fails" and measured.measures[0].verdict == "fails"


@pytest.mark.parametrize("name", KNOWN)
def test_a_claim_without_runs_says_so(name):
    measured = KNOWN[name][0](MadeUp().results())
    assert measured.verdict == "not measured"
    assert all(m.interval is None and "no results of" in m.reason for m in measured.measures)


@pytest.mark.parametrize("name", KNOWN)
def test_a_claim_with_one_domain_left_out_is_not_measured(name):
    claim, made, *_ = KNOWN[name]
    both = dataclasses.replace(made.results(), domains=("math", "code"))
    assert claim(both).verdict == "not measured"


def test_a_claim_with_one_seed_says_so():
    made = MadeUp(seeds=(0,))
    for policy, early in (("online", 24), ("base", 8)):
        made.solve(policy, "feedback", early)
    first, gap, _ = claim_main(made.results()).measures
    assert first.verdict == "holds" and first.interval.seeds == 1 and first.reason == "1 of 3 seeds"
    assert gap.verdict == "not measured" and gap.reason == "no results of online on math, retry"


def test_a_measure_takes_the_seeds_that_all_of_its_columns_have():
    made = main_results()
    del made.records["base", "math", 1]
    first = claim_main(made.results()).measures[0]
    assert first.interval.seeds == 2 and first.interval.estimate == pytest.approx(16 * POINTS)


def test_single_turns_are_compared_at_equal_generations_alone():
    made = order_results()
    made.train("single_rl", generations=50)
    measured = claim_2(made.results())
    assert measured.verdict == "not measured"
    unequal = [m for m in measured.measures if m.name.endswith("online minus single_rl")]
    assert len(unequal) == 2
    assert all(m.interval is None and m.reason == "the generations differ: online 100; single_rl 50" for m in unequal)
    # The stages themselves have different budgets, and are compared all the same.
    assert all(m.verdict == "holds" for m in measured.measures if m not in unequal)


def test_a_run_that_never_reaches_the_target_counts_with_all_its_dialogues():
    (measure,) = claim_11(credit_results(slow=None).results()).measures
    assert measure.interval.estimate == pytest.approx(8 / 40)
    assert "online did not reach it with seed 1" in measure.reason
    (neither,) = claim_11(credit_results(fast=None, slow=None).results()).measures
    assert neither.verdict == "not measured" and "online_credit did not reach it with seed 0" in neither.reason
    one_seed = MadeUp(seeds=(0,))
    one_seed.train("online_credit", reached_after=5)
    one_seed.train("online", reached_after=15)
    (single,) = claim_11(one_seed.results()).measures
    assert single.verdict == "not measured" and single.reason == "0.44 with one seed, which has no interval"


def test_results_on_different_problems_are_not_compared():
    made = main_results()
    made.records["base", "math", 0]["suites"]["pocket_math"]["feedback"]["problems"] = "others"
    with pytest.raises(UserError, match=r"compares results on different problems .*remove the older files"):
        claim_main(made.results())


def test_dropped_dialogues_are_left_out():
    entry = {"problems": "p", "solved": [1, None, 0, 5]}
    assert np.array_equal(solved_by(4)(entry), [100, np.nan, 0, 0], equal_nan=True)


def test_an_interval_that_touches_the_bound_does_not_hold():
    for expected, interval in ((above(0), (0.0, 2.0)), (below(1), (0.0, 1.0)), (within(1), (-1.0, 0.5))):
        assert not expected.holds(Interval(0.5, *interval, 3))
    assert above(0).holds(Interval(1.0, 0.1, 9.0, 3)) and within(1).holds(Interval(0.0, -0.9, 0.9, 3))


def test_a_claim_fails_if_one_of_its_measures_does():
    positive = above(0)

    def measure(low, expected=positive):
        return Measure(
            "m", "math", "points", None if low is None else Interval(low + 1.0, float(low), low + 2.0, 3), expected
        )

    verdicts = {(1,): "holds", (1, None): "not measured", (1, -1): "fails", (None, -1): "fails"}
    for lows, verdict in verdicts.items():
        assert Claim("C", "", tuple(map(measure, lows))).verdict == verdict
    # A number of which nothing is expected decides nothing.
    assert Claim("C", "", (measure(1), measure(-1, None), measure(None, None))).verdict == "holds"


def test_all_claims_can_be_measured_from_what_one_run_gives():
    claims = measure_claims(main_results().results())
    assert [claim.name for claim in claims if claim.verdict == "holds"] == ["main"]
    # Nothing is gained after turn 4 there, which is a number like any other.
    assert [claim.name for claim in claims if claim.verdict == "fails"] == ["C3"]
    assert sum(claim.verdict == "not measured" for claim in claims) == len(claims) - 2


def test_columns_of_one_seed_stand_for_all():
    made = hard_results()
    column = Column("base", "math", "tries", "feedback", lambda entry: np.array(entry["solved_tries"]), one_seed=True)
    assert column.entry(made.results(), 2) is not None
    own_seed = dataclasses.replace(column, one_seed=False)
    measure = compare(made.results(), "m", "math", [own_seed, own_seed], difference)
    assert measure.interval.seeds == 1 and measure.verdict == "reported"
