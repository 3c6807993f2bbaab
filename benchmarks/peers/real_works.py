"""The works on the shapes of real models: those of `works.py` with the sizes of a real task, and the time of a start.

Fewer ways of using the peers are run than on the small shape, where each was tried: their best ones there, since one
repeat takes up to minutes here.
"""

from __future__ import annotations

import dataclasses

from setting import Setting
from works import WORKS, Side, Work

# Which sides run, by their names, and how often at most. Other works are as on the small shape.
_SIDES = {
    "a": ("HF generate", "HF model in a loop by hand", "Tunix sampler"),
    "b": ("HF generate, cache carried", "HF model in a loop by hand, cache carried", "Tunix sampler"),
    "c": ("HF model in a loop by hand, 64 rows", "Tunix sampler, 64 rows"),
    "d": ("HF generate", "HF model in a loop by hand", "Tunix sampler"),
    "e": ("TRL GRPOTrainer", "Tunix GRPOLearner"),
}
_AIMS = {"a": 2.5, "b": 3.0, "c": 4.0, "e": 1 / 0.45}
_MOST_REPEATS = {"c": 2, "e": 2}

START = Work(
    "j",
    "from the start of a process to its first token",
    "s",
    None,
    (
        Side("sml-jax, first start: cache empty", "ours", "start.py", "ours_empty"),
        Side("sml-jax, second start", "ours", "start.py", "ours_full"),
        Side("HF generate", "torch", "start.py", "hf"),
        Side("Tunix sampler", "tunix", "start.py", "tunix"),
    ),
    most_repeats=1,
)
# What the machine can do comes first: the tables of the other works say how near each side is to it.
DEFAULT = "g,h,i,a,b,c,e,j"


def real_works(s: Setting) -> tuple[Work, ...]:
    """The works on a shape whose weights all sides load."""
    titles = {
        "a": f"{s.rows} rows, prompt {s.prompt}, sample {s.sample}, with log-probs",
        "b": f"{s.rows} dialogues of {s.turns} turns, {s.said} sampled and {s.given} given in each, prompt {s.prompt}",
        "c": f"{s.dialogues} dialogues of {s.turns} turns of random length 1 to {s.said} (peers: {s.peer_dialogues})",
        "d": f"1 row, prompt {s.prompt}, sample {s.sample}",
        "e": f"a GRPO step: {s.rows} dialogues of {s.step_turns} turns, {s.step_said} sampled and {s.given} given in "
        f"each, rollout and update, AdamW, micro-batches of {s.micro_rows} rows",
    }
    works = []
    for work in WORKS:
        if work.key == "f":  # recompiles are the same on every shape
            continue
        sides = tuple(
            side for side in work.sides if side.ours or work.key not in _SIDES or side.name in _SIDES[work.key]
        )
        works.append(
            dataclasses.replace(
                work,
                title=titles.get(work.key, work.title),
                aim=_AIMS.get(work.key, work.aim),
                sides=sides,
                most_repeats=_MOST_REPEATS.get(work.key),
            )
        )
    return (*works, START)
