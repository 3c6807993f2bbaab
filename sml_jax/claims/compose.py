"""Which gin files and overrides measure a policy on some suites and arms."""

from __future__ import annotations

from collections.abc import Mapping

from sml_jax.claims.job import TRIES

# Where the suites stand, and how gin writes the arms that they are played with.
_FILES = (
    "gin/tasks/pocket_{}.gin",
    "gin/suites/pocket_challenges.gin",
    "gin/suites/pocket_games.gin",
    "gin/suites/pocket_sharded.gin",
)
_ARMS = {
    "feedback": "@teachers.Feedback()",
    "retry": "@teachers.Retry()",
    "shuffled": "@teachers.Shuffled()",
    "uninformed": "@teachers.Uninformed()",
    "self": "@teachers.Self()",
    "self_critique": "@teachers.SelfCritique()",
    "doubt": "@teachers.Doubt()",
    "misleading": "@teachers.Misleading()",
    "other_manner": "@teachers.Function()",
    "game": "@teachers.Play()",
    "game_retry": "@uninformed/teachers.Play()",
}
_SHARDED = "sharded_"
# Evaluation draws other dialogues for each seed, of base and trained policies alike.
_FIRST_EVALUATION_SEED = 12_345


def evaluation_of(domain: str, seed: int, suites: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """The gin files and overrides of one evaluation.

    Args:
      domain: that the policy was trained on.
      seed: of the job.
      suites: the arms to play, by suite, as `Job.wanted` names them; `TRIES` is no part of it.

    Returns:
      The files and the overrides, for `load_experiment`.
    """
    assert TRIES not in suites, "tries are played one by one, see tries_of"
    plain = [name for name in suites if not name.startswith(_SHARDED)]
    sharded = [name for name in suites if name.startswith(_SHARDED)]
    evaluation_seed = _FIRST_EVALUATION_SEED + seed
    # All suites that the files know are replaced by those that are wanted, each with the arms that are.
    bindings = [
        f"Experiment.suites=[{', '.join(f'@{name}/suites.Suite()' for name in plain)}]",
        f"Experiment.sharded_suites=[{', '.join(f'@{name}/sharded.ShardedSuite()' for name in sharded)}]",
        "Experiment.evaluates_base=False",
    ]
    # An override that would change nothing is an error, so each kind of suite has its own.
    if plain:
        bindings.append(f"suites.Suite.seed={evaluation_seed}")
    if sharded:
        bindings.append(f"ShardedSuite.seed={evaluation_seed}")
    for name in plain:
        bindings.append(f"{name}/suites.Suite.arms=({''.join(f'{_ARMS[arm]}, ' for arm in suites[name])})")
    for name in sharded:
        bindings.append(f"{name}/ShardedSuite.settings={suites[name]!r}")
    return [file.format(domain) for file in _FILES], bindings


def tries_of(domain: str, attempt: int) -> tuple[list[str], list[str]]:
    """The gin files and overrides that play one single turn about each held-out problem of a domain.

    Args:
      domain: whose problems.
      attempt: the number of the try, from 0; each has a seed of its own.
    """
    files, bindings = evaluation_of(domain, 0, {domain: ("feedback",)})
    bindings = [binding for binding in bindings if not binding.startswith("suites.Suite.seed")]
    return files, [*bindings, "suites.Suite.max_turns=1", f"suites.Suite.seed={attempt + 1}"]
