"""The tokenizer and the chat template of a GGUF file as the files that a Hugging Face folder has for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.common.gguf_file import GGUFFile, is_gguf
from sml_jax.common.gguf_header import read_gguf
from sml_jax.families import family_of_gguf
from sml_jax.text.gguf_tokenizer import NAMED_TOKENS, TOKENS, tokenizer_spec

# Further tokens that may end a message.
_OTHER_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")


def write_gguf_texts(path: Path, folder: Path, *, vocabulary: bool = True) -> list[str]:
    """Writes the tokenizer of a GGUF file as the files of a Hugging Face folder, which `AutoTokenizer` opens.

    Args:
      path: the GGUF file.
      folder: the folder to write tokenizer.json, tokenizer_config.json, generation_config.json and, if the file has a
        chat template, chat_template.jinja to. It exists.
      vocabulary: whether tokenizer.json is written, which takes seconds; without it only what describes a chat.

    Returns:
      The names of the files written.

    Raises:
      UserError: the file has no tokenizer, or one of a kind that is not supported.
    """
    file = read_gguf(path)
    contents: dict[str, Any] = {"tokenizer.json": tokenizer_spec(file)} if vocabulary else {}
    contents |= {"tokenizer_config.json": _tokenizer_config(file), "generation_config.json": _generation_config(file)}
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    template = file.text("tokenizer.chat_template")
    if template is None:
        return list(contents)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return [*contents, "chat_template.jinja"]


@contextmanager
def folder_of_texts(path: Path) -> Iterator[Path]:
    """A context with the folder that describes how a model is spoken to: its chat template and its special tokens.

    Args:
      path: a model folder, a tokenizer's file in one, or a GGUF file, whose texts are written into a folder that is
        removed at the end.

    Raises:
      UserError: the GGUF file cannot be read; or one that was raised within the context, which then names the GGUF
        file in place of the folder.
    """
    if not is_gguf(path):
        yield path if path.is_dir() else path.parent
        return
    with TemporaryDirectory(prefix=f"{path.stem[:100]}-") as name:
        folder = Path(name)
        write_gguf_texts(path, folder, vocabulary=False)
        family = family_of_gguf(read_gguf(path).text("general.architecture") or "")
        # Only the family is told from it, for models without a template.
        (folder / "config.json").write_text(json.dumps({"model_type": family.model_type if family else None}))
        try:
            yield folder
        except UserError as error:
            # The file is what the user can find; the folder is gone when the error is read.
            raise UserError(str(error).replace(str(folder), str(path))) from error


def _tokenizer_config(file: GGUFFile) -> dict[str, Any]:
    """The object of tokenizer_config.json: the class that reads tokenizer.json as it is, and the named tokens."""
    tokens = file.texts(TOKENS) or []
    named = {name: file.whole_number(setting, len(tokens)) for name, setting in NAMED_TOKENS.items()}
    length = file.settings.get(f"{file.text('general.architecture')}.context_length")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: tokens[token_id] for name, token_id in named.items() if token_id is not None},
        **({"model_max_length": length} if isinstance(length, int) else {}),
        "clean_up_tokenization_spaces": False,
    }


def _generation_config(file: GGUFFile) -> dict[str, Any]:
    """The object of generation_config.json: the begin and padding tokens, and all that end a message."""
    count = len(file.texts(TOKENS) or [])
    ids = {f"{name}_id": file.whole_number(NAMED_TOKENS[name], count) for name in ("bos_token", "pad_token")}
    ends = [file.whole_number(setting, count) for setting in (NAMED_TOKENS["eos_token"], *_OTHER_ENDS)]
    end_ids = list(dict.fromkeys(end for end in ends if end is not None))
    values = ids | {"eos_token_id": end_ids[0] if len(end_ids) == 1 else end_ids or None}
    return {name: value for name, value in values.items() if value is not None}
