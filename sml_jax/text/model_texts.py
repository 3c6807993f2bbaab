"""What a model's folder says of its texts: the chat template, special tokens, and the tokens that end a message."""

from __future__ import annotations

from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_bytes, read_json
from sml_jax.text.jinja_template import PublicTemplate
from sml_jax.text.tokenizer import Tokenizer


def public_template(folder: Path) -> PublicTemplate | None:
    """The chat template in a model's folder; None if there is none.

    As in `transformers` a file chat_template.jinja comes before the field `chat_template` of tokenizer_config.json,
    and of several templates in that field the one named "default" is taken.

    Args:
      folder: the model's Hugging Face folder.

    Raises:
      UserError: a file is damaged, or the template is not written in Jinja's language.
    """
    settings_path, template_path = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    settings = json_object(settings_path) if is_present(settings_path) else {}
    special_tokens = {
        name: text for name, value in settings.items() if name.endswith("_token") and (text := _token_text(value))
    }
    # The file comes first.
    if is_present(template_path):
        try:
            source = read_bytes(template_path).decode("utf-8")
        except ValueError as error:
            raise UserError(f"{template_path} is not a text file: {error}; fetch it again") from error
        return PublicTemplate(source, special_tokens, str(template_path))
    written: object = settings.get("chat_template")
    if isinstance(written, list):
        by_name = {item.get("name"): item.get("template") for item in written if isinstance(item, dict)}
        written = by_name.get("default")
        if written is None:
            raise UserError(
                f'{settings_path}: none of the templates in "chat_template" is named "default": write the one to use '
                f"into {template_path}"
            )
    if written is None:
        return None
    if not isinstance(written, str):
        raise UserError(f'{settings_path}: "chat_template" is no text: fetch it again')
    return PublicTemplate(written, special_tokens, f'"chat_template" in {settings_path}')


def generation_stop_ids(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """The ids in `eos_token_id` of a folder's generation_config.json: one, several, or none.

    Raises:
      UserError: the file is damaged, or an id is no control token.
    """
    path = folder / "generation_config.json"
    if not is_present(path):
        return []
    stop_ids = json_object(path).get("eos_token_id")
    stop_ids = [] if stop_ids is None else stop_ids if isinstance(stop_ids, list) else [stop_ids]
    for stop_id in stop_ids:
        if not isinstance(stop_id, int) or isinstance(stop_id, bool) or stop_id not in tokenizer.control_ids():
            raise UserError(f"{path}: eos_token_id {stop_id!r} is no control token of the tokenizer: take it out")
    return stop_ids


def json_object(path: Path) -> dict:
    """The JSON object in a file.

    Raises:
      UserError: the file cannot be read, or holds something else.
    """
    try:
        json_value = read_json(path)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}; fetch it again") from error
    if not isinstance(json_value, dict):
        raise UserError(f"{path} is not a JSON object")
    return json_value


def _token_text(value: object) -> str:
    """The text of a special token, which files write as a string or as an object; "" for anything else."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else ""
