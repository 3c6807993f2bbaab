"""Reads rows of Parquet files with pyarrow, an optional dependency."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError

_BATCH_ROWS = 1024


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a Parquet file in order, each as a dictionary by column; about a thousand are in memory at
    once.

    Raises:
      UserError: pyarrow is missing, or the file is missing or damaged.
    """
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError(
            f'reading {path} needs pyarrow: pip install "sml-jax[data]", or convert the file to JSON lines'
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield from batch.to_pylist()
    # A text column need not hold UTF-8, and a damaged file may claim any size.
    except (OSError, ValueError, OverflowError, arrow.ArrowException) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot read {path} ({first_line}): give the path of a Parquet file") from None
