"""docs/chat_formats.md says what the code does."""

import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Library

from sml_jax.text.families import families, message_format
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import Tokenizer

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parents[1] / "docs" / "chat_formats.md").read_text(encoding="utf-8")
KIND = {
    "gemma": "gemma_json",
    "gemma4": "gemma4",
    "llama3": "llama",
    "qwen2_5": "qwen",
    "qwen3": "qwen",
    "qwen3_5": "qwen",
    "chatml": "qwen",
}


def rows() -> dict[str, list[str]]:
    """The table of pieces: by family, the cells begin, system, user, model, ends, after."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if re.match(r"\| `[a-z0-9_]+` \|", line)]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[2:]] for cells in lines}


def written(cell: str, same: str) -> list[str]:
    """What a cell quotes; one that refers to Qwen 2.5 quotes `same`."""
    cell = cell.replace("as Qwen 2.5", same)
    return [quoted.replace("\\|", "|").replace("\\n", "\n") for quoted in re.findall(r"`([^`]+)`", cell)]


def opens_system(chat: MessageFormat) -> tuple[int, ...]:
    """The tokens before a system's text behind the begin of a context."""
    if not chat.pieces.has_system_message:
        return ()
    message = chat.message("system", "")
    return tuple(message[: len(message) - len(chat.close_user)])


def test_every_family_has_a_row() -> None:
    assert set(rows()) == set(families()) == set(KIND)


@pytest.mark.parametrize("family", [*KIND])
def test_the_pieces_are_those_of_the_code(
    model_folders: dict[str, Path], kinds: dict[str, Tokenizer], family: str
) -> None:
    library = Library.from_file(str(model_folders[KIND[family]] / "tokenizer.json"))
    cells = [written(cell, same) for cell, same in zip(rows()[family], rows()["qwen2_5"], strict=True)]
    pieces = [tuple(library.encode("".join(cell), add_special_tokens=False).ids) for cell in cells]
    chat = message_format(family, kinds[KIND[family]])
    ours = [chat.begin, opens_system(chat), chat.open_user, chat.open_model, chat.stop_ids, chat.after]
    assert ours == pieces


def test_the_example_runs(model_folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((model_folders["qwen"] / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    (tmp_path / "chat_template.jinja").write_bytes((HERE / "templates" / "qwen3.jinja").read_bytes())
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    names: dict = {}
    exec(code.replace('"models/Qwen3-8B"', repr(str(tmp_path))), names)
    prompt, decode = names["prompt"], names["tokenizer"].decode
    assert decode(prompt[: names["shown"]]) == "user\nWhat is 12 times 34?\nassistant\n"
    assert decode(prompt) == "user\nWhat is 12 times 34?\nassistant\n408\nuser\nAre you sure?\nassistant\n"
