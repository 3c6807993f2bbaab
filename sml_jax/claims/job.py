"""The jobs of `sml-jax claims`: policies as compositions of recipes, and what each of them is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DOMAINS = ("math", "code")
SEEDS = (0, 1, 2)
BASE = "base"
TRIES = "tries"  # a suite of single turns, played several times
TRY_COUNT = 8
# The file, relative to gin/, and overrides: what trains a policy. {} is the domain.
_RECIPE, _SIGNAL = "gin/recipes/pocket_{}_%s.gin", "gin/signals/%s.gin"
_ONLINE = _RECIPE % "online"


@dataclass(frozen=True)
class Training:
    """How a policy is trained.

    Attributes:
      files: gin files, with {} for the domain.
      bindings: overrides, `NAME=VALUE` each.
      seconds: about how long it takes on two cores, for the plan.
    """

    files: tuple[str, ...]
    bindings: tuple[str, ...] = ()
    seconds: float = 330.0


TRAININGS: Mapping[str, Training] = {
    "single_sft": Training((_RECIPE % "single_sft",), seconds=90.0),
    "single_rl": Training((_RECIPE % "single_rl",), seconds=300.0),
    "offline": Training((_RECIPE % "offline",), seconds=90.0),
    "online": Training((_ONLINE,)),
    "qpriming": Training((_RECIPE % "qpriming",), ("Experiment.stages=[@qpriming/offline.Offline()]",), seconds=90.0),
    "qpriming_online": Training((_RECIPE % "qpriming",), seconds=420.0),
    "online_critique": Training((_ONLINE, _SIGNAL % "critique_prediction")),
    "critique": Training((_ONLINE, _SIGNAL % "critique_prediction"), ("CritiquePrediction.beside=None",)),
    "online_credit": Training((_ONLINE, _SIGNAL % "turn_returns")),
    "online_distill": Training((_ONLINE, _SIGNAL % "self_distillation"), seconds=420.0),
    # The stronger teacher of the claim C8: a program that is never wrong.
    "online_scripted": Training((_ONLINE,), ("Experiment.teacher=@teachers.Scripted()",), seconds=250.0),
}
POLICIES = (BASE, *TRAININGS)

# Whom a policy is measured with on held-out problems of its own domain. The first three are what --quick measures.
MAIN_ARMS = ("feedback", "retry", "shuffled")
_CONTROL_ARMS = ("uninformed", "self", "self_critique")
_CHALLENGE_ARMS = ("doubt", "misleading", "other_manner")
_GAMES = {"maze": ("game", "feedback", "retry"), "words": ("game", "feedback", "retry")}
_EVOLVING = {"evolving_{}": ("game", "game_retry")}
_AWAY = {"{other}": ("feedback", "retry")}
_SHARDED = {"sharded_{}": ("concat", "sharded")}
# Other suites by policy. Those that no claim is about are left out, for time.
_EXTRA: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    BASE: {**_SHARDED, **_EVOLVING, **_GAMES, TRIES: ("feedback",)},
    "offline": _AWAY,
    "online": {**_AWAY, **_SHARDED, **_EVOLVING, **_GAMES},
    "qpriming": _SHARDED,
    "qpriming_online": {**_AWAY, **_SHARDED},
}
_CHALLENGED = (BASE, "online")


@dataclass(frozen=True)
class Job:
    """One policy, trained on one domain with one seed, and what it is measured on.

    Attributes:
      policy: one of `POLICIES`. domain: one of `DOMAINS`. seed: of training and evaluation.
      wanted: the arms to measure, by suite. Suites are called by their scope in the gin files: "math", "code", "maze",
        "words", "evolving_math", "sharded_math" and so on; `TRIES` is the domain's suite with a single turn.
    """

    policy: str
    domain: str
    seed: int
    wanted: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """The name of the job's folder and of its file of results."""
        return f"{self.policy}_{self.domain}_s{self.seed}"

    @property
    def training(self) -> Training | None:
        """How the policy is trained; None for the base."""
        return TRAININGS.get(self.policy)

    @property
    def recipe(self) -> dict[str, list[str]]:
        """The gin files and overrides that train the policy, as they are kept beside its results."""
        if self.training is None:
            return {"files": [], "bindings": []}
        files = [file.format(self.domain) for file in self.training.files]
        return {"files": files, "bindings": [*self.training.bindings, f"SEED={self.seed}"]}


def wanted_suites(policy: str, domain: str, seed: int, quick: bool) -> dict[str, tuple[str, ...]]:
    """The arms that a policy is measured with, by suite; see `Job`.

    Args:
      policy, domain, seed: of the job.
      quick: whether only the main claim is measured.
    """
    if quick:
        return {domain: MAIN_ARMS}
    other = next(name for name in DOMAINS if name != domain)
    challenges = _CHALLENGE_ARMS if policy in _CHALLENGED else ()
    extra = {suite.format(domain, other=other): arms for suite, arms in _EXTRA.get(policy, {}).items()}
    # What a problem's single tries come to need be known once: the set of hard problems is one for all seeds.
    if seed != SEEDS[0]:
        extra.pop(TRIES, None)
    return {domain: (*MAIN_ARMS, *_CONTROL_ARMS, *challenges), **extra}


def make_jobs(policies: Sequence[str], domains: Sequence[str], seeds: Sequence[int], quick: bool) -> list[Job]:
    """The jobs in the order in which they are done: those of the main claim first, seed by seed.

    Args:
      policies: some of `POLICIES`. domains: some of `DOMAINS`. seeds: of the runs.
      quick: whether only the main claim is measured.
    """
    main_first = sorted(policies, key=lambda policy: policy not in (BASE, "online"))
    return [
        Job(policy, domain, seed, wanted_suites(policy, domain, seed, quick))
        for seed in seeds
        for domain in domains
        for policy in main_first
    ]
