"""Problems kept as TFDS array records: parsed once, then read by position, on disk, without TensorFlow."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from sml_jax.common.errors import UserError
from sml_jax.tasks.problems.types import Problem

_log = logging.getLogger(__name__)
P = TypeVar("P", bound=Problem)
# Part of every digest: raise it when a loader's output changes for the same file.
_FORMAT = 1
_CHUNK_BYTES = 1 << 20


class StoredProblems(Sequence[P], Generic[P]):
    """A sequence of problems that are stored on disk; each is read when it is indexed.

    Args:
      source: a TFDS data source, from `as_data_source`.
      make: makes a problem of an example.
    """

    def __init__(self, source: Any, make: Callable[[Mapping[str, Any]], P]) -> None:
        self._source, self._make = source, make

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> P: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[P, ...]: ...
    def __getitem__(self, index: int | slice) -> P | tuple[P, ...]:
        if isinstance(index, slice):
            return tuple(self[at] for at in range(len(self))[index])
        return self._make(self._source[range(len(self))[index]])


def load_tfds() -> Any:
    """Imports and returns the module tensorflow_datasets.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError:
        raise UserError('a data_dir needs tensorflow-datasets: pip install "sml-jax[data]"') from None


def prepared(
    name: str,
    kind: type[P],
    paths: Iterable[str | Path],
    options: Mapping[str, object],
    read: Callable[[], Mapping[str, Sequence[P]]],
    data_dir: str | Path | None,
) -> Mapping[str, Sequence[P]]:
    """Reads a source's problems, or takes them from an earlier call that stored them on disk.

    They are stored in the folder `data_dir/NAME-DIGEST/sml_problems/1.0.0`, which `tfds.builder_from_directory` can
    open too. The digest depends on the content of the files and on the options: if either changes, a new folder is
    made.

    Args:
      name: of the source, for the folder.
      kind: class of the problems.
      paths: files and folders that `read` reads.
      options: everything else that the result of `read` depends on.
      read: parses the files and returns the problems by split.
      data_dir: folder in which to store the problems; None to call `read` and store nothing.

    Returns:
      The problems by split. Those on disk are read one at a time, and empty splits are missing.

    Raises:
      UserError: tensorflow-datasets is missing, or `data_dir` cannot be written.
    """
    if data_dir is None:
        return read()
    tfds = load_tfds()
    builder_module = importlib.import_module("sml_jax.tasks.datasets.builder")
    label = f"{name}-{_digest(paths, options)}"
    folder = Path(data_dir) / label / "sml_problems" / "1.0.0"
    if not (folder / "dataset_info.json").is_file():
        # Splits without problems cannot be stored; they are absent when read.
        splits = {split: problems for split, problems in read().items() if problems}
        _log.info("storing %s as array records in %s", name, folder)
        # TFDS reports its progress on the standard output.
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                tfds.disable_progress_bar()
                builder_module.SmlProblems(
                    kind, splits, data_dir=str(Path(data_dir) / label), file_format="array_record"
                ).download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        except OSError as error:
            raise UserError(
                f"cannot write {data_dir} ({error.strerror}): give a data_dir that can be written"
            ) from None
    return open_folder(folder, lambda example: builder_module.decode(kind, example))


def open_folder(folder: Path, make: Callable[[Mapping[str, Any]], P]) -> dict[str, StoredProblems[P]]:
    """Opens a data set that TFDS has prepared.

    Args:
      folder: the folder of the data set's version, such as ".../gsm8k/1.0.0".
      make: makes a problem of an example.

    Returns:
      The problems by split; each is read when it is indexed.

    Raises:
      UserError: the folder has no such data set, or one that is not stored as array records.
    """
    tfds = load_tfds()
    try:
        builder = tfds.builder_from_directory(str(folder))
        return {split: StoredProblems(builder.as_data_source(split=split), make) for split in builder.info.splits}
    except NotImplementedError:
        raise UserError(
            f'{folder} is not in a format read by position: prepare it anew with file_format="array_record"'
        ) from None
    except Exception as error:  # TFDS, protobuf and array_record have errors of their own for a damaged folder
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot read {folder} ({first_line}): remove it, and prepare it anew") from None


def _digest(paths: Iterable[str | Path], options: Mapping[str, object]) -> str:
    """Twelve hexadecimal digits of a hash of the files' names and content and of the options."""
    # Options first, then the names and the content of all files.
    digest = hashlib.sha256(repr((_FORMAT, sorted(options.items()))).encode())
    for path in paths:
        root = Path(path)
        files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
        for file in files:
            digest.update(f"\0{file.relative_to(root)}\0".encode("utf-8", "surrogatepass"))
            try:
                with file.open("rb") as content:
                    while chunk := content.read(_CHUNK_BYTES):
                        digest.update(chunk)
            except OSError as error:
                raise UserError(f"cannot read {file} ({error.strerror}): give the path of the upstream file") from None
    return digest.hexdigest()[:12]
