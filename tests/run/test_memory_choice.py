"""Which settings are chosen, and what is said where none may be: phases of known sizes on a device of known memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import jax
import pytest

from sml_jax.common.errors import UserError
from sml_jax.run.memory_account import Need
from sml_jax.run.memory_choice import Chooser, Open, Settings, remat_name
from sml_jax.sharding import make_mesh

ASKED = Settings(128, "none", (64,))
ALL, NOTHING = Open(micro_batch_sizes=(True,)), Open(False, False, (False,))
KEPT = {"none": 1.0, "dots": 0.5, "layer": 0.25}
GB = 1e9


class Sized(Need):
    """A phase whose bytes are known. `compiled` is what the compiler would say; `asked` tells of which it was asked."""

    asked: list[str] = []  # noqa: RUF012

    def __init__(self, name: str, counted: float, compiled: float, resident: float = 0.0):
        super().__init__(name, resident, (), ())
        vars(self).update(counted=counted)
        self._compiled = compiled

    @property
    def compiled(self) -> float:
        self.asked.append(self.name)
        return self._compiled

    @property
    def bytes(self) -> float:
        return self._compiled


class Online:
    """A stage's stand-in: only the name of its class is read."""


@dataclass
class Sizes:
    """A run's account: a GB for a row of a micro-batch in full, a tenth for a dialogue, as far as they are counted."""

    ratio: float = 1.0  # of what the compiler says to what is counted
    resident: float = 0.0
    stages: list = field(default_factory=lambda: [Online()])
    context: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(mesh=make_mesh(over=jax.devices()[:1]), rollout_mesh=None)
    )

    def rollouts(self, rows: int) -> list[Need]:
        return [Sized("the rollout of online", 0.1 * rows * GB, 0.1 * rows * GB * self.ratio)]

    def update(self, index: int, remat: str, size: int, beside: float) -> Need:
        counted = size * KEPT[remat] * GB
        compiled = self.resident + counted * self.ratio
        return Sized("the update of online", self.resident + counted, compiled, self.resident)

    def beside_update(self, index: int, rows: int) -> float:
        return 0.0


@pytest.fixture
def choose() -> Callable[..., Settings]:
    Sized.asked = []

    def with_limit(limit: float, asked: Settings = ASKED, left_open: Open = ALL, **sizes: float) -> Settings:
        return Chooser(Sizes(**sizes), limit * GB).choose(asked, left_open)[0]

    return with_limit


def test_what_fits_stays_and_is_not_compiled(choose):
    assert choose(64 * 1.2 + 0.1) == ASKED and Sized.asked == []


@pytest.mark.parametrize(
    ("limit", "chosen"),
    [
        (64, ASKED),  # the compiler is asked, and says that it fits
        (63, Settings(128, "dots", (64,))),
        (31, Settings(128, "layer", (64,))),
        (15, Settings(128, "layer", (32,))),
        (7, Settings(64, "layer", (16,))),
        (0.5, Settings(4, "layer", (2,))),
    ],
)
def test_the_first_that_fits_is_chosen(choose, limit, chosen):
    assert choose(limit) == chosen


def test_the_compiler_decides_where_the_count_does_not(choose):
    # It needs half of what was counted: nothing has to change.
    assert choose(33, ratio=0.5) == ASKED and set(Sized.asked) == {"the update of online"}
    # It needs a fifth more.
    assert choose(32, ratio=1.2) == Settings(128, "layer", (64,))


def test_what_the_recipe_says_is_never_changed(choose):
    assert choose(20, left_open=Open(True, True, (False,))) == Settings(128, "layer", (64,))
    assert choose(20, left_open=Open(True, False, (True,))) == Settings(128, "none", (16,))


@pytest.mark.parametrize(
    ("limit", "asked", "named", "nearest"),
    [
        (20, ASKED, "remat 'layer'", Settings(128, "layer", (64,))),
        (15, Settings(128, "layer", (64,)), r"--gin\.Online\.micro_batch_size=32", Settings(128, "layer", (32,))),
        (
            7,
            Settings(128, "layer", (16,)),
            r"the rollout of online needs 12\.8 GB .* and 7 GB may be used: the nearest setting that fits is "
            r"--gin\.Experiment\.max_concurrent=64 \(",
            Settings(64, "layer", (16,)),
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_nearest_that_does(choose, limit, asked, named, nearest):
    with pytest.raises(UserError, match=named):
        choose(limit, asked, NOTHING)
    # And that one is not refused.
    assert choose(limit, nearest, NOTHING) == nearest


def test_what_can_never_fit_is_said_so(choose):
    with pytest.raises(UserError, match=r"No max_concurrent, remat or micro_batch_size makes the run fit .* 12\.2 GB"):
        choose(12, resident=12 * GB, asked=Settings(8, "none", (64,)))
    assert not Sized.asked or set(Sized.asked) == {"the update of online"}


def test_dialogues_are_halved_as_the_mesh_divides_them():
    sizes = Sizes()
    sizes.context.mesh = make_mesh(3, 1, 1, jax.devices()[:3])
    chosen, _ = Chooser(sizes, 5.0 * GB).choose(Settings(96, "layer", (1,)), Open(micro_batch_sizes=(False,)))
    assert chosen.max_concurrent == 48
    with pytest.raises(UserError, match="No max_concurrent"):
        Chooser(sizes, 0.26 * GB).choose(Settings(96, "layer", (1,)), Open(micro_batch_sizes=(False,)))


def test_names_of_remat():
    assert [remat_name(value) for value in (False, True, "auto", "dots")] == ["none", "layer", "none", "dots"]
