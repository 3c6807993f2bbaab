"""What a run writes and shows: its folder, its records, its progress. Knows no model."""

from sml_jax.run.io.display import Progress, printable
from sml_jax.run.io.folder import RunFolder, to_json

__all__ = ["Progress", "RunFolder", "printable", "to_json"]
