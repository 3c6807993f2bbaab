"""The model that did best in a run's evaluations, in a folder that always holds a whole model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.distributed.processes import run_on_primary
from sml_jax.models.config import DecoderConfig
from sml_jax.models.hf.checkpoint import save_model
from sml_jax.run.io.folder import RunFolder, to_json
from sml_jax.run.io.json_lines import writing

# In the best model's folder: after which step it was evaluated, and what came out.
EVALUATION_FILE = "evaluation.json"


class BestModel:
    """Keeps the best model of a run in `checkpoints/best`, a model folder as `checkpoints/final` is one.

    `evaluation.json` in it says after which step it was evaluated, and with what result. A new model is written beside
    the folder and then renamed, so that a run that is killed leaves the old one or the new one, never a part.

    Args:
      folder: the run's.
      config: of the model.
      write_texts: writes the tokenizer's files and the chat template to a model folder.
    """

    def __init__(self, folder: RunFolder, config: DecoderConfig, write_texts: Callable[[Path], None]):
        self._run_folder, self._config, self._write_texts = folder, config, write_texts
        self.path = folder.checkpoints_path / "best"
        self._new_path, self._old_path = self.path.with_name("best.new"), self.path.with_name("best.old")

    def settle(self) -> int | None:
        """Clears up after a run that was killed while it wrote.

        Returns:
          After which step of the run the model that is there was evaluated; None if there is none, or if its
          `evaluation.json` does not say so.
        """
        return run_on_primary(self._settle)

    def write(self, params: dict, evaluation: Mapping[str, Any]) -> None:
        """Writes a model in the place of the one before.

        Args:
          params: the model's, with the frozen base if adapters are trained. Every process must call this.
          evaluation: what `evaluation.json` holds.

        Raises:
          UserError: the model cannot be written; the one before stays.
        """
        self._run_folder.check_held()
        try:
            run_on_primary(partial(shutil.rmtree, self._new_path, ignore_errors=True))
            # Each process writes the arrays that it holds.
            save_model(self._new_path, self._config, params)
            run_on_primary(partial(self._complete, to_json(evaluation)))
        except UserError:
            raise
        # Orbax raises whatever its own code runs into.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"the best model could not be written to {self.path} ({reason}): make room, or see that the folder can "
                "be written to, and start again with the same --workdir, which goes on from the last checkpoint"
            ) from error

    def _complete(self, evaluation: Any) -> None:
        """Adds the other files to the new model, and puts it in its place."""
        with writing(self.path):
            self._write_texts(self._new_path)
            text = json.dumps(evaluation, indent=2, allow_nan=False) + "\n"
            (self._new_path / EVALUATION_FILE).write_text(text)
            # No folder can be renamed to one that is there. That the old one stands aside says that the new is whole.
            if self.path.exists():
                self.path.rename(self._old_path)
            self._new_path.rename(self.path)
        shutil.rmtree(self._old_path, ignore_errors=True)

    def _settle(self) -> int | None:
        """See `settle`; in process 0 alone."""
        if self._old_path.exists() and not self.path.exists():
            # Killed between the two renames. The new model is whole, unless somebody has taken it away.
            with writing(self.path):
                (self._new_path if self._new_path.exists() else self._old_path).rename(self.path)
        for leftover in (self._new_path, self._old_path):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            step = json.loads((self.path / EVALUATION_FILE).read_bytes())["step"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return step if isinstance(step, int) else None
