"""The least time that a work could take on this machine: its products at the speed of one large product, or its reads
of weights and caches at the speed at which memory is read, whichever takes longer in each phase. Pure functions.

What no side can leave out is counted: each prompt of a group once, every sampled and given token once, logits of
sampled tokens alone, weights once a step, a row's cache once a step. Norms, draws and the host are free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from setting import Setting

FLOAT = 4  # bytes
# Times that AdamW reads or writes a parameter's worth of memory: it reads parameter, gradient and two moments, and
# writes the parameter and both moments.
ADAMW_PASSES = 7


@dataclass(frozen=True)
class Machine:
    """What was measured in the same run.

    Attributes:
      product: FLOP a second of a large float32 product, the faster library's.
      read: bytes a second that all cores read together.
    """

    product: float
    read: float

    def seconds(self, phases: Iterable[tuple[float, float]]) -> float:
        """The least time of `phases`, each (FLOP, bytes read), one after the other."""
        return sum(max(flops / self.product, size / self.read) for flops, size in phases)


def layer_params(s: Setting) -> int:
    """Parameters of all layers' matrices."""
    attention = s.width * s.head_dim * (2 * s.heads + 2 * s.kv_heads)
    return s.layers * (attention + 3 * s.width * s.hidden)


def passed(s: Setting, rows: float, tokens: float, context: float, logits: float, steps: float = 1) -> tuple:
    """A phase of `steps` passes with the same weights: `rows` rows, `tokens` new ones each behind `context` on average.

    Args:
      logits: tokens of a row that logits are computed of.

    Returns:
      FLOP and bytes.
    """
    head = s.vocab * s.width
    # Attention is two products with each of the tokens that a new one sees; half of the new ones on average.
    seen = context + (tokens + 1) / 2
    attention = 4 * s.heads * s.head_dim * s.layers * tokens * seen
    flops = rows * (2 * layer_params(s) * tokens + 2 * head * logits + attention)
    caches = rows * context * s.layers * 2 * s.kv_heads * s.head_dim
    return steps * flops, steps * FLOAT * (layer_params(s) + (head if logits else 0) + caches)


def sampling(s: Setting, rows: int, turns: int, said: float) -> list[tuple]:
    """The phases of `turns` turns of `said` sampled tokens in `rows` rows at once, `given` between them."""
    phases, context = [passed(s, -(-rows // s.samples), s.prompt, 0, 0)], float(s.prompt)
    for turn in range(turns):
        phases.append(passed(s, rows, 1, context + (said - 1) / 2, 1, steps=said))
        context += said
        if turn + 1 < turns:
            phases.append(passed(s, rows, s.given, context, 0))
            context += s.given
    return phases


def update(s: Setting) -> list[tuple]:
    """The phases of one update on the rows of a GRPO step: forward, and twice that backward, and AdamW."""
    prompts, sampled = passed(s, s.prompts, s.prompt, 0, 0), s.step_turns * s.step_said
    behind = passed(s, s.rows, s.step_completion, s.prompt, sampled)
    params = layer_params(s) + s.vocab * s.width * (1 if s.tied else 2)
    return [(3 * (prompts[0] + behind[0]), 0.0), (0.0, ADAMW_PASSES * FLOAT * params)]


def best_value(key: str, s: Setting, machine: Machine, batch: int) -> float | None:
    """What the machine allows at most in work `key`, in the work's unit; None for a work without such a bound.

    Args:
      batch: dialogues at once where lengths are random.
    """
    mean = (1 + s.said) / 2
    if key == "a":
        return s.rows * s.sample / machine.seconds(sampling(s, s.rows, 1, s.sample))
    if key == "b":
        return s.rows * s.turns * s.said / machine.seconds(sampling(s, s.rows, s.turns, s.said))
    if key == "c":
        return batch * s.turns * mean / machine.seconds(sampling(s, batch, s.turns, mean))
    if key == "d":
        return s.sample / machine.seconds(sampling(s, 1, 1, s.sample))
    if key == "e":
        return machine.seconds([*sampling(s, s.rows, s.step_turns, s.step_said), *update(s)])
    return None
