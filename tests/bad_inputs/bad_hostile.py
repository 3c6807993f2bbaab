"""Model folders that were made to do harm: each kind changes a sound Hugging Face folder, tokenizer and all."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from bad_files import Files
from safetensors.numpy import load_file, save_file

# The tokenizers among them are also read without any program.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "text"))
import hostile_tokenizers as tokenizers

QUERY, EMBEDDING = "model.layers.1.self_attn.q_proj.weight", "model.embed_tokens.weight"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


class Hostile(NamedTuple):
    """A kind of folder: how a sound one is changed, and what the error says of it."""

    change: Callable[[Path], object]
    names: str


def with_tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    """Weights of which some are others."""

    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return rewrite


def number(name: str, value: float, dtype: Any = None) -> Callable[[Path], None]:
    """One number of one tensor is another."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = tensors[name].astype(dtype or tensors[name].dtype)
        tensors[name].reshape(-1)[7] = value

    return with_tensors(change)


def header(change: Callable[[str], str], size: int | None = None) -> Callable[[Path], None]:
    """The header of the weights is another text."""

    def rewrite(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        text = change(content[8 : 8 + length].decode()).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", size or len(text)) + text + content[8 + length :])

    return rewrite


def tensor_info(**values: object) -> Callable[[Path], None]:
    """The header says something else of one tensor."""
    return header(lambda text: json.dumps({**(whole := json.loads(text)), QUERY: {**whole[QUERY], **values}}))


def twice(text: str) -> str:
    """The header with a tensor that stands there a second time, with other numbers, in front of its own."""
    whole = json.loads(text)
    return "{" + f'"{QUERY}": {json.dumps(whole[EMBEDDING])}, ' + text.lstrip()[1:]


def index(file: str, also: Callable[[Path], object] = lambda folder: None) -> Callable[[Path], None]:
    """An index that names this file for all tensors."""

    def write(folder: Path) -> None:
        names = load_file(folder / WEIGHTS)
        (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, file)}))
        also(folder)

    return write


def moved(folder: Path, name: str) -> None:
    """The weights lie elsewhere, and a link of this name leads to them."""
    outside = folder.parent / "outside.safetensors"
    (folder / WEIGHTS).rename(outside)
    (folder / name).symlink_to(outside)


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of a file."""

    def put(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return put


def config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def written(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def two_files(folder: Path) -> None:
    """A second file that holds a tensor of the first one."""
    index(WEIGHTS)(folder)
    save_file({QUERY: load_file(folder / WEIGHTS)[QUERY] + 1}, folder / "other.safetensors")
    values = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({"weight_map": {**values["weight_map"], QUERY: "other.safetensors"}}))


def tokenizer(kind: str) -> Callable[[Path], object]:
    return lambda folder: tokenizers.rewritten(folder / "tokenizer.json", kind)


def of_more_tokens(folder: Path) -> None:
    """A tokenizer with more tokens than the embedding has rows."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    last = max(token["id"] for token in spec["added_tokens"])
    more = [{**spec["added_tokens"][-1], "id": last + i, "content": f"<|more{i}|>"} for i in range(1, 200)]
    (folder / "tokenizer.json").write_text(json.dumps({**spec, "added_tokens": [*spec["added_tokens"], *more]}))


def sentencepiece(content: bytes) -> Callable[[Path], None]:
    """A SentencePiece model in the place of the tokenizer.json."""

    def put(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(content)

    return put


NOT_FINITE = {
    "a NaN": Hostile(number(QUERY, np.nan), f"{QUERY} holds numbers that are not finite"),
    "an infinity": Hostile(number("model.norm.weight", np.inf), "model.norm.weight holds numbers that are not"),
    "a NaN in 16 bits": Hostile(
        number(EMBEDDING, np.nan, ml_dtypes.bfloat16), f"{EMBEDDING} holds numbers that are not finite"
    ),
}
FOLDERS = {
    "a name with dots": Hostile(
        index("../outside.safetensors", lambda f: moved(f, WEIGHTS)), "weight_map names '../outside.*no file of this"
    ),
    "an absolute name": Hostile(index("/dev/zero"), "weight_map names '/dev/zero', which is no file of this folder"),
    "a link out of the folder": Hostile(lambda f: moved(f, WEIGHTS), "is a link to .*, outside of the folder"),
    "a FIFO for weights": Hostile(instead(WEIGHTS, os.mkfifo), "model.safetensors is a FIFO"),
    "a device for weights": Hostile(
        instead(WEIGHTS, lambda path: path.symlink_to("/dev/zero")), "model.safetensors is a device"
    ),
    "a folder for weights": Hostile(instead(WEIGHTS, Path.mkdir), "model.safetensors is a folder"),
    "a FIFO for the index": Hostile(lambda f: os.mkfifo(f / INDEX), "index.json is a FIFO"),
    "a FIFO for the configuration": Hostile(instead("config.json", os.mkfifo), "config.json is a FIFO"),
    "a tensor twice": Hostile(header(twice), "q_proj.weight' stands there twice"),
    "a tensor in two files": Hostile(two_files, "q_proj.weight is in .* too; remove the files of another model"),
    "a tensor under two names": Hostile(
        with_tensors(lambda t: t.update({"norm.weight": t["model.norm.weight"] + 1})), "are the same tensor of a model"
    ),
    "a header without end": Hostile(header(str, 2**63), "its header should have 9223372036854775808 bytes"),
    "tensors that overlap": Hostile(tensor_info(data_offsets=[0, 512]), "invalid offset|not fully|cannot be read"),
    "a tensor of exabytes": Hostile(tensor_info(shape=[2**40, 2**20]), "cannot be read as safetensors"),
    "a name that is no text": Hostile(
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes().replace(b"q_proj", b"q\xffproj", 1)), "UTF-8"
    ),
    "a pickle": Hostile(lambda f: (f / WEIGHTS).write_bytes(pickle.dumps({"a": 1}, 2)), "a pickle, as PyTorch writes"),
    "a deep configuration": Hostile(written("config.json", '{"a":' * 100_000), "config.json.* not .*JSON.*nested too"),
    "a configuration of holes": Hostile(
        lambda f: tokenizers.with_holes(f / "config.json"), "config.json is larger than the 16 MiB"
    ),
    "a configuration that says two things": Hostile(
        lambda f: (f / "config.json").write_text('{"hidden_size": 8, ' + (f / "config.json").read_text().lstrip()[1:]),
        "config.json.* not .*JSON.*'hidden_size' stands there twice",
    ),
    "sizes of no machine": Hostile(config(hidden_size=2**31 - 2, vocab_size=2**31 - 1), "instead of|do not fit"),
    "a billion layers": Hostile(config(num_hidden_layers=10**9), "num_hidden_layers is 1000000000; it must be at"),
    "a size of many digits": Hostile(config(vocab_size=10**400), "vocab_size is 1000"),
}
TOKENIZERS = {
    "a tokenizer that grows": Hostile(tokenizer("a text that doubles thirty times"), "not a tokenizer that works"),
    "a tokenizer that panics": Hostile(tokenizer("a panic"), "not a tokenizer.json file that works"),
    "a tokenizer without end": Hostile(
        tokenizer("an expression that goes back and forth"), "is not a tokenizer.*(works|come to an end)"
    ),
    "a tokenizer of more tokens": Hostile(of_more_tokens, "has a vocabulary of|a vocabulary of 384"),
    "a tokenizer that says nothing": Hostile(tokenizer("all characters are taken away"), "decode to nothing"),
    "a FIFO for a tokenizer": Hostile(lambda f: tokenizers.as_fifo(f / "tokenizer.json"), "tokenizer.json is a FIFO"),
    "a FIFO beside the tokenizer": Hostile(
        lambda f: [(f / "generation_config.json").unlink(), os.mkfifo(f / "generation_config.json")],
        "generation_config.json is a FIFO",
    ),
    "a tokenizer of holes": Hostile(lambda f: tokenizers.with_holes(f / "tokenizer.json"), "larger than the 64 MiB"),
    "a tokenizer of lists": Hostile(lambda f: tokenizers.of_lists(f / "tokenizer.json"), "more lists and texts than"),
    "a deep tokenizer": Hostile(lambda f: tokenizers.deep(f / "tokenizer.json"), "nested too deeply"),
    "pieces of rubbish": Hostile(sentencepiece(b"\x0a\x05hello" * 100), "tokenizer.model is not a SentencePiece model"),
}
KINDS = {**NOT_FINITE, **FOLDERS, **TOKENIZERS}
PROGRAMS = ("train", "evaluate", "convert")


def argv(files: Files, program: str, kind: str) -> list[str]:
    """Makes a folder of this kind; returns the command line that gives it to a program."""
    folder = files.folder / "hostile"
    shutil.copytree(files.hugging_face, folder)
    KINDS[kind].change(folder)
    if program == "convert":
        return files.convert(folder)
    if program == "train":
        return files.chat(model=folder)
    # A base that is sound, and another model beside it; a tokenizer is the base's own.
    base, checkpoint = (folder, files.hugging_face) if kind in TOKENIZERS else (files.hugging_face, folder)
    return ["evaluate", *files.chat(model=base)[1:], f"--checkpoint={checkpoint}"]
