"""Made-up results of jobs, of which every claim's number is known."""

from __future__ import annotations

from sml_jax.claims.results import _TASKS, Results

PROBLEMS, SEEDS = 40, (0, 1, 2)
POINTS = 100 / PROBLEMS  # of one problem


class MadeUp:
    """Results that grow: in seed s a policy solves s problems more, which no difference within a seed sees."""

    def __init__(self, domains=("math",), seeds=SEEDS):
        self.domains, self.seeds, self.records = domains, seeds, {}

    def results(self) -> Results:
        return Results(self.records, self.domains)

    def put(self, policy, domain, suite, arm, make):
        for seed in self.seeds:
            self.record(policy, domain, seed)["suites"].setdefault(_TASKS[suite], {})[arm] = make(seed)

    def record(self, policy, domain, seed):
        empty = {"recipe": {}, "training": None, "suites": {}, "seconds": {}}
        return self.records.setdefault((policy, domain, seed), empty)

    def solve(self, policy, arm, early, late=0, *, domain="math", suite=""):
        """`early` problems (and one more for each seed) are solved at turn 2, the next `late` ones at turn 8."""

        def make(seed):
            counts = early + seed, late
            solved = [2] * counts[0] + [8] * counts[1] + [0] * (PROBLEMS - sum(counts))
            return {"n": PROBLEMS, "problems": "p", "solved": solved, "loglik_change": [None] * PROBLEMS}

        self.put(policy, domain, suite or domain, arm, make)

    def numbers(self, policy, suite, arm, domain="math", **fields):
        """The same lists for each seed."""
        length = len(next(iter(value for value in fields.values() if isinstance(value, list))))
        self.put(policy, domain, suite, arm, lambda seed: {"n": length, "problems": "p", **fields})

    def train(self, policy, domain="math", generations=1000, reached_after=None, dialogues_by_step=10, steps=40):
        """The success of training dialogues jumps to 1 after some steps."""
        for seed in self.seeds:
            jump = steps if reached_after is None else reached_after
            self.record(policy, domain, seed)["training"] = {
                "generations": generations,
                "generations_taken": generations // 2,
                "dialogues_by_step": dialogues_by_step,
                "success_by_step": [0.0] * jump + [1.0] * (steps - jump),
            }
