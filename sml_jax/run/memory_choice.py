"""The settings under which a run fits its devices: those of the recipe, or the nearest ones that do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from sml_jax.common.errors import UserError
from sml_jax.run.memory_account import Account, Need
from sml_jax.run.memory_limit import gb_text
from sml_jax.sharding import num_row_shards

# From what keeps everything to what keeps least; the second needs one more forward pass of the layers at most.
_REMATS = ("none", "dots", "layer")
_NAMES = {False: "none", True: "layer", "auto": "none"}


@dataclass(frozen=True)
class Settings:
    """The settings of a run that decide how much memory it needs, and change nothing else but the rounding of sums.

    Attributes:
      max_concurrent: dialogues at once.
      remat: of the model, one of "none", "dots" and "layer".
      micro_batch_sizes: of each stage; 0 for a stage without such a setting.
    """

    max_concurrent: int
    remat: str
    micro_batch_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Open:
    """Which settings the recipe leaves open. The attributes are those of `Settings`."""

    max_concurrent: bool = True
    remat: bool = True
    micro_batch_sizes: tuple[bool, ...] = ()

    @property
    def any(self) -> bool:
        """Whether any is."""
        return self.max_concurrent or self.remat or any(self.micro_batch_sizes)


def remat_name(remat: bool | str) -> str:
    """The value of `DecoderConfig.remat` as one of "none", "dots" and "layer"; "auto" begins as "none"."""
    return _NAMES.get(remat, str(remat))


class Chooser:
    """Chooses settings under which every phase of a run fits.

    A phase fits if its upper bound does, which is counted without compiling. Where the bound does not, the phase is
    compiled, and the compiler decides. So a run that has room to spare is told so in a moment, and none is changed or
    refused for an estimate.

    Args:
      account: of the run.
      limit: bytes of a device that may be used.
    """

    def __init__(self, account: Account, limit: float):
        self._account, self._limit = account, limit
        # A phase that was compiled in one search is not compiled again in the next.
        self._update, self._rollouts = cache(account.update), cache(account.rollouts)
        self._ratios: dict[str, float] = {}  # by phase: what the compiler said, by what was counted
        self.too_large: list[Need] = []  # those phases that did not fit, the settings asked for first

    def choose(self, asked: Settings, open_settings: Open) -> tuple[Settings, Need | None]:
        """The first settings that fit, the asked ones foremost, and the phase that then needs most.

        Raises:
          UserError: none fit; it names the nearest ones that would if all could be changed.
        """
        chosen = self._search(asked, open_settings)
        if chosen is not None:
            return chosen
        first = self.too_large[0]
        everything = Open(micro_batch_sizes=tuple(size > 0 for size in asked.micro_batch_sizes))
        nearest = None if open_settings == everything else self._search(asked, everything)
        text = f"{first.name} needs {_gb(first)} GB of a device, and {gb_text(self._limit)} GB may be used"
        if nearest is None:
            last = self.too_large[-1]
            raise UserError(
                f"memory: {text}. No max_concurrent, remat or micro_batch_size makes the run fit ({last.name} would "
                f"still need {_gb(last)} GB): a smaller model, adapters (lora), shorter dialogues or rows, or more "
                "devices"
            )
        settings, largest = nearest
        fitting = "" if largest is None else f" ({_gb(largest)} GB at most)"
        raise UserError(f"memory: {text}: the nearest setting that fits is {self._changes(asked, settings)}{fitting}")

    def _search(self, asked: Settings, open_settings: Open) -> tuple[Settings, Need | None] | None:
        """The first settings that fit among those that may be changed; None if none do."""
        largest: list[Need] = []
        # Dialogues at once decide about rollouts and nothing else.
        for rows in self._row_counts(asked.max_concurrent, open_settings.max_concurrent):
            rollouts = self._rollouts(rows)
            if all(map(self._fits, rollouts)):
                largest += rollouts
                break
        else:
            return None
        # What keeps less is tried before smaller micro-batches: it does not change the order of sums.
        stages = range(len(self._account.stages))
        beside = [self._account.beside_update(index, rows) for index in stages]
        sizes = list(asked.micro_batch_sizes)
        first_remat = _REMATS.index(asked.remat)
        remats = _REMATS[first_remat:] if open_settings.remat else (asked.remat,)
        for remat in remats:
            updates = [self._update(index, remat, sizes[index], beside[index]) for index in stages]
            if all(need is None or self._fits(need) for need in updates):
                largest += [need for need in updates if need is not None]
                return Settings(rows, remat, tuple(sizes)), max(largest, key=_bytes, default=None)
        for index in stages:
            is_open = bool(open_settings.micro_batch_sizes) and open_settings.micro_batch_sizes[index]
            for size in _halvings(sizes[index]) if is_open else (sizes[index],):
                need = self._update(index, remat, size, beside[index])
                if need is None or self._fits(need):
                    largest += [] if need is None else [need]
                    sizes[index] = size
                    break
            else:
                return None
        return Settings(rows, remat, tuple(sizes)), max(largest, key=_bytes, default=None)

    def _fits(self, need: Need) -> bool:
        """Whether a phase fits."""
        if need.resident <= self._limit and need.bound <= self._limit:
            return True
        fits = False
        # Where another size of this phase was compiled, what is counted is known to be so far off; what is far too
        # large by that is not compiled.
        guess = need.resident + (need.counted - need.resident) * self._ratios.get(need.name, 0.0)
        if need.resident <= self._limit and guess <= self._limit:
            fits = need.compiled <= self._limit
            if need.compiled < float("inf") and need.counted > need.resident:
                self._ratios[need.name] = (need.compiled - need.resident) / (need.counted - need.resident) * 0.9
        if not fits:
            self.too_large.append(need)
        return fits

    def _row_counts(self, asked: int, is_open: bool) -> Iterator[int]:
        """Numbers of dialogues at once that the mesh's row shards divide, from the one asked for down."""
        context = self._account.context
        shards = num_row_shards(context.rollout_mesh or context.mesh)
        yield asked
        if is_open:
            yield from (rows for rows in _halvings(asked // 2) if rows % shards == 0)

    def _changes(self, asked: Settings, settings: Settings) -> str:
        """What differs between two settings, by the names that set it."""
        return " and ".join(changes(asked, settings, [type(stage).__name__ for stage in self._account.stages]))


def changes(asked: Settings, settings: Settings, stage_classes: list[str]) -> list[str]:
    """The flags that change settings into others.

    Args:
      asked, settings: before and after.
      stage_classes: the class name of each stage.
    """
    flags = []
    if settings.max_concurrent != asked.max_concurrent:
        flags.append(f"--gin.Experiment.max_concurrent={settings.max_concurrent}")
    if settings.remat != asked.remat:
        flags.append(f"remat '{settings.remat}' (DecoderConfig.remat, or in Pretrained.overrides)")
    for name, old, new in zip(stage_classes, asked.micro_batch_sizes, settings.micro_batch_sizes, strict=True):
        if new != old:
            flags.append(f"--gin.{name}.micro_batch_size={new}")
    return list(dict.fromkeys(flags))


def _halvings(size: int) -> Iterator[int]:
    """A number, half of it, and so on down to 1."""
    while size >= 1:
        yield size
        size //= 2


def _bytes(need: Need) -> float:
    """Bytes of a phase."""
    return need.bytes


def _gb(need: Need) -> str:
    """The bytes of a phase in GB."""
    return gb_text(need.bytes)
