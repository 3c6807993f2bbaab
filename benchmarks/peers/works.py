"""Lists the works: which sides do each, and in which unit it is reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sml_jax.common.cores import cores

CORES = cores()
_CPU = Path("/proc/cpuinfo")
_WIDE = _CPU.exists() and "avx512f" in _CPU.read_text()
# At these shapes, products on several threads and sums split into trees cost more than they save. On CPUs without
# AVX-512 the same is true of XLA's fusions by YNNPACK; on CPUs with it, XLA uses half of the vector width unless told.
_LEAN = "--xla_cpu_multi_thread_eigen=false --xla_disable_hlo_passes=tree_reduction_rewriter " + (
    "--xla_cpu_prefer_vector_width=512" if _WIDE else "--xla_cpu_experimental_ynn_fusion_type="
)


@dataclass(frozen=True)
class Side:
    """One process of a comparison.

    Attributes:
      name: as the table shows it.
      place: the environment that it runs in: "ours", "torch" or "tunix".
      script, work: the file to run, and the work that it is asked for.
      xla: its XLA_FLAGS.
    """

    name: str
    place: str
    script: str
    work: str
    xla: str = ""

    @property
    def ours(self) -> bool:
        return self.place == "ours"


@dataclass(frozen=True)
class Work:
    """A row of the table of aims.

    Attributes:
      key: its letter in `--works`. title: its name in the table.
      unit: of the reported value: "tokens/s" and the like are units over seconds; "s" is seconds a unit.
      aim: the ratio to the best peer that we want at least; None if there is none.
      most_repeats: repeats at most, where one takes minutes; None for no such limit.
    """

    key: str
    title: str
    unit: str
    aim: float | None
    sides: tuple[Side, ...]
    most_repeats: int | None = None

    @property
    def more_is_better(self) -> bool:
        return self.unit != "s"


def _hf(name: str, work: str) -> Side:
    return Side(f"HF {name}", "torch", "hf.py", work)


def _tunix(name: str, work: str, xla: str = "") -> Side:
    return Side(f"Tunix {name}", "tunix", "tunix_sampler.py", work, xla)


def _ours(work: str) -> Side:
    return Side("sml-jax", "ours", "ours.py", work, f"--xla_force_host_platform_device_count={CORES} {_LEAN}")


WORKS = (
    Work(
        "a",
        "64 rows, prompt 64, sample 128, with log-probs",
        "tokens/s",
        2.0,
        (
            _ours("sample_logprobs"),
            _hf("generate, no log-probs", "sample"),
            _hf("generate", "sample_logprobs"),
            _hf("model in a loop by hand", "sample_loop_logprobs"),
            _tunix("sampler", "sample_logprobs"),
            _tunix("sampler, our XLA flags", "sample_logprobs", _LEAN),
        ),
    ),
    Work(
        "b",
        "64 dialogues of 4 turns, 32 sampled and 32 given in each",
        "sampled tokens/s",
        2.5,
        (
            _ours("dialogue"),
            _hf("generate, cache carried", "dialogue_carried"),
            _hf("generate, all prefilled again", "dialogue_again"),
            _hf("model in a loop by hand, cache carried", "dialogue_loop"),
            _tunix("sampler", "dialogue"),
        ),
    ),
    Work(
        "c",
        "512 dialogues of 4 turns of random length 1 to 32",
        "sampled tokens/s",
        4.0,
        (
            _ours("random"),
            _hf("generate, cache carried, 64 rows", "random_carried"),
            _hf("model in a loop by hand, 64 rows", "random_loop"),
            _hf("model in a loop by hand, 256 rows", "random_loop_wide"),
            Side("HF continuous batching, 64 rows", "torch", "hf_continuous.py", "random"),
            _tunix("sampler, 64 rows", "random"),
            _tunix("sampler, 256 rows", "random_wide"),
        ),
    ),
    Work(
        "d",
        "1 row, prompt 64, sample 128",
        "tokens/s",
        1.5,
        (
            _ours("one"),
            _hf("generate", "one"),
            _hf("model in a loop by hand", "one_loop"),
            _tunix("sampler", "one"),
            _tunix("sampler, our XLA flags", "one", _LEAN),
        ),
    ),
    Work(
        "e",
        "a GRPO step: 64 rows of 64 + 128, rollout and update, AdamW",
        "s",
        2.0,
        (
            _ours("grpo"),
            Side("TRL GRPOTrainer", "torch", "trl_grpo.py", "grpo"),
            Side("Tunix GRPOLearner", "tunix", "tunix_grpo.py", "grpo"),
        ),
    ),
    Work(
        "f",
        "recompiles after warm-up: rows, prompt length, budget changed one after the other",
        "recompiles of 3",
        None,
        (_ours("recompiles"), _tunix("sampler", "recompiles")),
    ),
    Work(
        "g",
        "the machine: product of 2,048 x 2,048 float32",
        "GFLOP/s",
        None,
        (
            Side("jax", "ours", "ceiling.py", "jax_product"),
            Side("torch", "torch", "ceiling.py", "torch_product"),
        ),
    ),
    Work(
        "h",
        "the machine: 256 MiB of float32 read and written",
        "GB/s",
        None,
        (
            Side("jax (negation)", "ours", "ceiling.py", "jax_copy"),
            Side("torch (copy)", "torch", "ceiling.py", "torch_copy"),
        ),
    ),
    Work("i", "the machine: memory read by all cores", "GB/s", None, (Side("NumPy", "ours", "ceiling.py", "read"),)),
)
