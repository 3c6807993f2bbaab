"""`sml-jax convert`: a Hugging Face folder or a GGUF file to a model folder of ours, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sml_jax.cli.flags import FlagParser
from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path

if TYPE_CHECKING:
    from sml_jax.models.hf.load import Progress as ReportProgress

DESCRIPTION = """Converts a model. What --from holds says which way:

  a Hugging Face folder (config.json, safetensors files) or a GGUF file becomes a model folder of ours (model.json,
  params/);
  a model folder of ours, or a finished run's folder, becomes a Hugging Face folder that transformers loads, or with
  --adapters=true a folder with its LoRA adapters alone that PEFT loads;
  any of these becomes a GGUF file in F16 if the name of --to ends in .gguf.

The tokenizer's files and generation_config.json are copied along; of a GGUF file, they are written from it, its chat
template too. Nothing is downloaded."""

_FLAGS = {
    "from": ("PATH", "the model: a Hugging Face folder, a GGUF file, a model folder or a finished run's folder"),
    "to": ("PATH", "the folder or the .gguf file to write; it appears whole or not at all"),
    "dtype": ("TYPE", "of the weights written: float32 or bfloat16 (default: as they are)"),
    "family": (
        "NAME",
        "the model_type to write: gemma2, gemma3_text, llama, qwen2 or qwen3 (default: the one that fits)",
    ),
    "tokenizer_from": ("PATH", "a folder to copy the tokenizer's files from, or a GGUF file (default: the model's)"),
    "adapters": ("true|false", "whether to write the LoRA adapters alone (default: false, they are merged)"),
    "overwrite": ("true|false", "whether --to may be replaced if it is not empty (default: false)"),
}


def main(argv: Sequence[str]) -> int:
    """`sml-jax convert`: converts a Hugging Face folder to a model folder, or back; prints the folder that it wrote.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The exit code 0.

    Raises:
      UserError: a flag or the model is wrong, or the target folder is in the way.
    """
    flags = _parse(argv)
    # Imported here, so that --help and mistakes in flags need not load JAX.
    from sml_jax.common.gguf_file import is_gguf
    from sml_jax.families import FAMILIES
    from sml_jax.models.hf.checkpoint import find_model
    from sml_jax.models.hf.new_folder import check_free, check_free_file
    from sml_jax.models.hf.save import text_files
    from sml_jax.run.io.display import late_progress

    # All flags are checked before any weight is read, which may take minutes.
    source, form = find_model(flags["from"])
    target = user_path(flags["to"])
    tokenizer_folder = user_path(flags.get("tokenizer_from", source))
    if "tokenizer_from" in flags and not is_gguf(tokenizer_folder) and not text_files(tokenizer_folder):
        raise UserError(
            f"--tokenizer_from: {tokenizer_folder} is no folder with a tokenizer's files: give the model's, or none"
        )
    to_gguf, adapters = target.suffix.lower() == ".gguf", flags.get("adapters") == "true"
    to_ours = form != "sml-jax" and not to_gguf
    if "family" in flags and (to_ours or to_gguf or adapters):
        raise UserError(
            "--family says which Hugging Face folder to write, but what --from and --to name makes another form: leave "
            "--family out"
        )
    if adapters and (form != "sml-jax" or to_gguf):
        raise UserError("--adapters takes a model folder of ours or a finished run's folder, and writes a folder")
    if "dtype" in flags and (to_gguf or adapters):
        raise UserError("--dtype: a GGUF file is written in F16 and adapters in float32: leave --dtype out")
    if flags.get("family", "llama") not in FAMILIES:
        raise UserError(f"--family is {flags['family']!r}; it takes {', '.join(sorted(FAMILIES))}")
    dtype, overwrite = flags.get("dtype"), flags.get("overwrite", "false") == "true"
    (check_free_file if to_gguf else check_free)(target, overwrite=overwrite)
    _check_tokenizer(tokenizer_folder, source)
    with late_progress(f"converting {source.name}") as progress, _text_folder(tokenizer_folder) as texts:
        if to_gguf:
            description = _to_gguf(source, target, texts, overwrite, progress)
        elif to_ours:
            description = _to_ours(source, target, dtype, texts, overwrite, progress)
        elif adapters:
            description = _to_adapters(source, target, overwrite)
        else:
            description = _to_hugging_face(source, target, dtype, flags.get("family"), texts, overwrite, progress)
        has_tokenizer = adapters or bool(text_files(texts))
    print(f"{target}: {description}")
    # Without a tokenizer the folder is of little use, and what opens it later would not say why.
    if not has_tokenizer:
        print(
            f"warning: {tokenizer_folder} has no tokenizer, so there is none in {target}: for AutoTokenizer, and for "
            "recipes of chat models, give --tokenizer_from=DIR, the folder of the model's tokenizer"
        )
    return 0


@contextmanager
def _text_folder(tokenizer_folder: Path) -> Iterator[Path]:
    """A context with the folder that the tokenizer's files are copied from; of a GGUF file they are written first."""
    from sml_jax.common.gguf_file import is_gguf
    from sml_jax.text.gguf_texts import write_gguf_texts

    if not is_gguf(tokenizer_folder):
        yield tokenizer_folder
        return
    with TemporaryDirectory() as folder:
        write_gguf_texts(tokenizer_folder, Path(folder))
        yield Path(folder)


def _check_tokenizer(folder: Path, source: Path) -> None:
    """Loads the tokenizer that will be copied, if there is one: a folder with one that does not work is of no use.

    Args:
      folder: the folder that it is copied from, or the GGUF file that it is made of.
      source: the model's folder or file.

    Raises:
      UserError: the tokenizer does not work, or has more tokens than the model.
    """
    from sml_jax.common.gguf_file import is_gguf
    from sml_jax.models.hf.checkpoint import read_model_config
    from sml_jax.models.hf.save import text_files
    from sml_jax.text.huggingface import load_tokenizer
    from sml_jax.text.tokenizer_json import has_model

    names = {"tokenizer.json"} if is_gguf(folder) else {file.name for file in text_files(folder)}
    # A stand-in without a model is copied like any other file: there is nothing in it to try.
    if "tokenizer.json" in names and folder.is_dir() and not has_model(folder / "tokenizer.json"):
        return
    if not names & {"tokenizer.json", "tokenizer.model"}:
        return
    tokenizer = load_tokenizer(folder)
    config = read_model_config(source)
    # Families round their embedding up, so there may be fewer tokens than rows.
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, but the model in {source} a vocabulary of "
            f"{config.vocab_size}: give the tokenizer that the model was trained with (--tokenizer_from)"
        )


def _to_ours(
    source: Path, target: Path, dtype: str | None, texts: Path, overwrite: bool, progress: ReportProgress
) -> str:
    """Writes a Hugging Face folder or a GGUF file as a model folder of ours; returns what was written."""
    from sml_jax.models.hf.checkpoint import load_model, save_model
    from sml_jax.models.hf.new_folder import folder_at_once
    from sml_jax.models.hf.save import copy_text_files

    overrides = {} if dtype is None else {"dtype": dtype, "param_dtype": dtype}
    model, params = load_model(source, overrides=overrides, progress=progress)
    # The folder appears whole or not at all, also if this program is killed.
    with folder_at_once(target, overwrite=overwrite) as folder:
        copy_text_files(texts, folder)
        save_model(folder, model.config, params)
    return "a model folder of sml-jax"


def _to_hugging_face(
    source: Path,
    target: Path,
    dtype: str | None,
    family: str | None,
    texts: Path,
    overwrite: bool,
    progress: ReportProgress,
) -> str:
    """Writes a model of ours as a Hugging Face folder; returns what was written."""
    from sml_jax.models.hf.checkpoint import load_model
    from sml_jax.models.hf.save import save_hf

    model, params = load_model(source)
    save_hf(target, model.config, params, family, dtype, tokenizer_from=texts, overwrite=overwrite, progress=progress)
    return "a Hugging Face folder"


def _to_adapters(source: Path, target: Path, overwrite: bool) -> str:
    """Writes the adapters of a model of ours as a folder for PEFT; returns what was written."""
    from sml_jax.models.hf.checkpoint import load_model
    from sml_jax.models.hf.peft import save_peft

    model, params = load_model(source)
    save_peft(target, model.config, params, overwrite=overwrite)
    return "a folder with adapters for PEFT"


def _to_gguf(source: Path, target: Path, texts: Path, overwrite: bool, progress: ReportProgress) -> str:
    """Writes any model as a GGUF file in F16; returns what was written."""
    from sml_jax.models.hf.checkpoint import load_model
    from sml_jax.models.hf.gguf_save import save_gguf
    from sml_jax.text.gguf_settings import gguf_tokenizer_settings

    model, params = load_model(source)
    has_tokenizer = (texts / "tokenizer.json").is_file()
    settings = gguf_tokenizer_settings(texts, model.config.vocab_size) if has_tokenizer else None
    save_gguf(target, model.config, params, settings, overwrite=overwrite, progress=progress)
    return "a GGUF file"


def _parse(argv: Sequence[str]) -> dict[str, str]:
    """Parses the command line; returns the flags that are given, by name."""
    parser = FlagParser("sml-jax convert", DESCRIPTION, "--from=PATH --to=PATH [--flag=value ...]")
    for name, (metavar, help_text) in _FLAGS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=help_text)
    namespace = parser.parse_flags(argv, _FLAGS, takes_gin=False)
    flags = {name: value for name, value in vars(namespace).items() if value is not None}
    # Missing flags first, then values that are not among the choices.
    missing = [f"--{name}=DIR" for name in ("from", "to") if not flags.get(name)]
    if missing:
        raise UserError(f"sml-jax convert needs {' and '.join(missing)}; see sml-jax convert --help")
    for name, choices in (
        ("dtype", ("float32", "bfloat16")),
        ("overwrite", ("true", "false")),
        ("adapters", ("true", "false")),
    ):
        if flags.get(name, choices[0]) not in choices:
            raise UserError(f"--{name} is {flags[name]!r}; it takes {' or '.join(choices)}")
    return flags
