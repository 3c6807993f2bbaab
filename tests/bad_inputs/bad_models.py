"""Bad models, in our form and in Hugging Face's."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
from bad_files import Bad, Change, Files, changed, cut, gone
from safetensors.numpy import load_file, save_file

Argv = Callable[[Files], list[str]]


def base(*bindings: str) -> Argv:
    """Trains from a base on disk."""
    return lambda f: f.train("Experiment.base=@base_models.Pretrained()", *bindings)


def ours(**files: Change) -> Argv:
    """Reads a run's final model, damaged."""
    return lambda f: f.convert(f.damaged(f.run, **files))


def config(**values: Any) -> Argv:
    """Reads a run's final model whose model.json says something else."""
    return ours(model__json=changed(**values))


def params(change: Callable[[Path], None]) -> Argv:
    """Reads a run's final model whose folder of parameters was changed."""

    def make(f: Files) -> list[str]:
        folder = f.damaged(f.run)
        change(folder / "checkpoints" / "final" / "params")
        return f.convert(folder)

    return make


def every_file(change: Change) -> Argv:
    def rewrite(folder: Path) -> None:
        for path in filter(Path.is_file, folder.rglob("*")):
            path.write_bytes(change(path.read_bytes()) or b"")

    return params(rewrite)


def of_exabytes(folder: Path) -> None:
    """One array is said to be stored in one chunk that no machine holds."""
    base = {"driver": "file", "path": f"{folder}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    key = next(key for key in store.list().result() if key.endswith(b"/.zarray"))
    values = json.loads(store.read(key).result().value)
    store.write(key, json.dumps({**values, "chunks": [2**40] * len(values["shape"])}).encode()).result()


def hf(**files: Change) -> Argv:
    """Reads a Hugging Face folder, damaged."""
    return lambda f: f.convert(f.damaged(f.hugging_face, **files))


def hf_config(**values: Any) -> Argv:
    return hf(config__json=changed(**values))


def header(**values: Any) -> Argv:
    """A safetensors file whose header says something else of a tensor."""

    def rewrite(content: bytes) -> bytes:
        size = struct.unpack("<Q", content[:8])[0]
        whole = json.loads(content[8 : 8 + size])
        whole[QUERY] |= values
        text = json.dumps(whole).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + size :]

    return hf(model__safetensors=rewrite)


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Argv:
    """A Hugging Face folder whose tensors were changed and written anew."""

    def make(f: Files) -> list[str]:
        path = f.damaged(f.hugging_face) / "model.safetensors"
        held = load_file(path)
        change(held)
        save_file(held, path)
        return f.convert(path.parent)

    return make


def index(content: object) -> Argv:
    """A Hugging Face folder with an index of files."""

    def make(f: Files) -> list[str]:
        folder = f.damaged(f.hugging_face)
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))
        return f.convert(folder)

    return make


QUERY, EMBEDDING = "model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"
COPY, AGAIN, WHOLE = "copy the model's folder again", "fetch it again", "fetch the whole folder again"
BASES = {
    "no base": Bad(base("Pretrained.path=nowhere"), "no model at .*nowhere", "give a folder that holds model.json"),
    "a base that is a file": Bad(
        lambda f: base(f"Pretrained.path={f.write('x', '')}")(f), "no model at .*x", "give a folder"
    ),
    "an override of the shape": Bad(
        base("Pretrained.overrides={'embed_dim': 3}"), "'embed_dim' of a model", "these can: attention, dtype"
    ),
    "an override of another kind": Bad(base("Pretrained.overrides={'max_length': 'x'}"), "is 'x'", "a value like 512"),
    "overrides in a list": Bad(
        base("Pretrained.overrides=['x']"), r"overrides is \['x'\]", r"takes Mapping\[str, Any\]"
    ),
    "a base of another tokenizer": Bad(
        lambda f: base(f"Pretrained.path={f.hugging_face}")(f),
        "384 tokens but .* 388",
        "give the tokenizer",
    ),
    "a base of another shape": Bad(
        lambda f: [*f.chat()[:1], "--gin_file=gin/models/qwen3_8b.gin", *(a for a in f.chat()[1:] if "=None" not in a)],
        "embed_dim 16 for 4096",
        "give the gin/models file of that model",
    ),
    "no checkpoint": Bad(lambda f: f.evaluate(f["nowhere"]), "no model at .*nowhere", "a finished run's folder"),
    "a run that did not finish": Bad(
        lambda f: f.convert(f.write("x/checkpoints/steps/5/y", "").parents[3]),
        "no model at .*x",
        "a finished run's folder",
    ),
    "a checkpoint of another recipe": Bad(
        lambda f: f.evaluate("pocket"), "model at pocket is not of", "give the recipe"
    ),
}
OURS = {
    "model.json cut": Bad(ours(model__json=cut), "model.json: .*not JSON", COPY),
    "model.json empty": Bad(ours(model__json=lambda _: b""), "model.json: .*not JSON", COPY),
    "model.json binary": Bad(ours(model__json=lambda _: b"\xff\xfe\x00"), "model.json: .*utf-8", COPY),
    "model.json a list": Bad(ours(model__json=lambda _: b"[]"), "model.json: .*must be a JSON object", COPY),
    "model.json lacks a field": Bad(config(embed_dim=...), "model.json: .*'embed_dim'", COPY),
    "model.json of other fields": Bad(config(depth=3), r"model.json: .*unknown fields \['depth'\]", "known are"),
    "model.json with a text": Bad(config(embed_dim="16"), "model.json: .*embed_dim is '16'", "takes int"),
    "model.json with a fraction": Bad(config(embed_dim=16.5), "model.json: .*embed_dim is 16.5", "takes int"),
    "model.json below zero": Bad(config(layers=-1), "model.json: .*layers is -1", "at least 1"),
    "model.json of another embed_dim": Bad(
        config(embed_dim=32), r"embedding is \[388, 16\], not \[388, 32\]", "from one run"
    ),
    "model.json of more layers": Bad(config(layers=2), r"is \[1, .*\], not \[2,", "copy both from one run"),
    "adapters that are not there": Bad(
        config(lora={"rank": 2}), "query_lora/a is missing|_lora/a is missing", "one run"
    ),
    "no parameters": Bad(params(shutil.rmtree), "the parameters in .* are damaged or not all there", COPY),
    "parameters emptied": Bad(every_file(lambda _: b""), "the parameters in .* are damaged", COPY),
    "parameters cut": Bad(every_file(cut), "the parameters in .* are damaged", COPY),
    "parameters in chunks of exabytes": Bad(params(of_exabytes), "the chunks of params.* are", COPY),
    "parameters with every bit flipped": Bad(
        every_file(lambda content: bytes(255 - byte for byte in content)), "the parameters in .* are damaged", COPY
    ),
}
HUGGING_FACE = {
    "config.json cut": Bad(hf(config__json=cut), "config.json: not JSON", AGAIN),
    "config.json binary": Bad(hf(config__json=lambda _: b"\xff\xfe"), "config.json: not JSON", AGAIN),
    "config.json a list": Bad(hf(config__json=lambda _: b"[]"), "config.json: it must hold a JSON object", AGAIN),
    "another family of models": Bad(hf_config(model_type="mistral"), "'mistral' is not supported", "there are gemma2"),
    "no family of models": Bad(hf_config(model_type=...), "family 'None' is not supported", "there are gemma2"),
    "config.json lacks a size": Bad(hf_config(hidden_size=...), "hidden_size is missing", "fetch the file again"),
    "config.json with a text": Bad(hf_config(hidden_size="16"), "hidden_size is '16'", "must be a whole number"),
    "config.json with a zero": Bad(hf_config(num_attention_heads=0), "num_attention_heads is 0", "at least 1"),
    "a field that is not supported": Bad(hf_config(num_experts=8), "num_experts is 8", "use a model without it"),
    "quantised weights": Bad(
        hf_config(quantization_config={"bits": 4}), "quantization_config is", "use a model without"
    ),
    "another activation": Bad(hf_config(hidden_act="relu"), "hidden_act is 'relu'", "supported is 'silu'"),
    "another rope": Bad(
        hf_config(rope_scaling={"rope_type": "yarn", "factor": 4.0}), "rope_type is 'yarn'", "'llama3'"
    ),
    "more layers than weights": Bad(
        hf_config(num_hidden_layers=4, layer_types=...), "missing tensors: .*layers.2", WHOLE
    ),
    "fewer layers than weights": Bad(
        hf_config(num_hidden_layers=1, layer_types=...), "no place for: .*layers.1", WHOLE
    ),
    "weights of another embed_dim": Bad(hf_config(hidden_size=24), r"is \[384, 16\] instead of \[384, 24\]", WHOLE),
    "weights without the output": Bad(hf_config(tie_word_embeddings=False), "missing tensors: lm_head.weight", WHOLE),
    "no weights": Bad(hf(model__safetensors=gone), "config.json but no model.safetensors", "fetch the weights"),
    "weights cut": Bad(hf(model__safetensors=cut), "model.safetensors cannot be read", AGAIN),
    "weights emptied": Bad(hf(model__safetensors=lambda _: b""), "model.safetensors cannot be read", AGAIN),
    "a pointer of Git LFS": Bad(
        hf(model__safetensors=lambda _: b"version https://git-lfs.github.com/spec/v1\nsize 5\n"),
        "cannot be read",
        AGAIN,
    ),
    "a header that lies on shapes": Bad(header(shape=[1, 1]), "model.safetensors cannot be read", AGAIN),
    "a header that lies on places": Bad(header(data_offsets=[0, 10**9]), "model.safetensors cannot be read", AGAIN),
    "8-bit floats": Bad(header(dtype="F8_E4M3", shape=[256, 16]), "q_proj.weight is F8_E4M3", WHOLE),
    "whole numbers": Bad(tensors(lambda t: t.update({QUERY: t[QUERY].astype(np.int8)})), "q_proj.weight is I8", WHOLE),
    "a tensor too few": Bad(tensors(lambda t: t.pop(QUERY)), "missing tensors: .*q_proj.weight", WHOLE),
    "a tensor too many": Bad(tensors(lambda t: t.update(x=np.zeros(3))), "no place for: x", WHOLE),
    "a tensor misshapen": Bad(tensors(lambda t: t.update({QUERY: t[QUERY][:3]})), r"is \[3, 16\] instead of", WHOLE),
    "a head that is not the embedding": Bad(
        tensors(lambda t: t.update({"lm_head.weight": t[EMBEDDING] + 1})),
        "lm_head.weight is not",
        "to false in config.json",
    ),
    "an index of no file": Bad(
        index({"weight_map": {"a": "none.safetensors"}}), "none.safetensors is missing", "again"
    ),
    "an index of nothing": Bad(index({}), "index.json: this is no index", AGAIN),
    "an index of numbers": Bad(index({"weight_map": {"a": 3}}), "index.json: this is no index", AGAIN),
    "an index of another tensor": Bad(index({"weight_map": {"a": "model.safetensors"}}), "a not in the files", "again"),
}
TABLE = {**BASES, **OURS, **HUGGING_FACE}
