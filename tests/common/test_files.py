"""Opening files that somebody else made: what is no file is named at once, and no file is read beyond its limit."""

import os
import socket
from pathlib import Path

import pytest

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_bytes, read_json, read_json_object


def _socket(path: Path) -> None:
    # The path of a socket may have some hundred characters only.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


NO_FILES = {
    "a FIFO": os.mkfifo,
    "a socket": _socket,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
    "cannot be read": lambda path: path.symlink_to(path.name),  # a circle
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_named(tmp_path, kind):
    path = tmp_path / "config.json"
    NO_FILES[kind](path)
    for look in (is_present, read_bytes, read_json, read_json_object):
        with pytest.raises(UserError, match=rf"config\.json.*{kind}"):
            look(path)


def test_what_is_there_and_what_is_not(tmp_path):
    assert not is_present(tmp_path / "a") and not is_present(tmp_path / "a" / "b")
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "link").symlink_to("a")
    assert is_present(tmp_path / "a") and is_present(tmp_path / "link") and not is_present(tmp_path / "a" / "b")
    assert read_bytes(tmp_path / "link", 2) == b"12"
    with pytest.raises(UserError, match="is missing"):
        read_bytes(tmp_path / "b")
    with pytest.raises(UserError, match=r"cannot be read \(embedded null"):
        is_present(tmp_path / "\0")


def test_no_more_is_read_than_the_limit(tmp_path):
    """A file of holes takes no room on the disk, whatever its size."""
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"config\.json is larger than the 16 MiB"):
        read_json_object(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands there twice, with different values"),
        (b'{"' + b"x" * 9000 + b'": 1, "' + b"x" * 9000 + b'": 2}', r"'x{200}\.\.\.' stands there twice"),
        (b'{"a": NaN, "a": NaN}', "'a' stands there twice"),
        (b'{"a": 1' + b"0" * 10_000 + b"}", "4300"),
        (b"\xff{}", "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
    ],
    ids=["lists", "objects", "twice", "long and twice", "nan", "huge", "no text", "bom", "empty", "two"],
)
def test_json_that_is_none_says_why(tmp_path, content, words):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"config\.json: not JSON \(.*{words}.*\); fetch it again") as error:
        read_json_object(tmp_path / "config.json")
    assert len(str(error.value)) < 500


def test_a_name_that_stands_twice_with_one_value_is_harmless(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"a": [1], "b": 2, "a": [1]}')
    assert read_json_object(tmp_path / "config.json") == {"a": [1], "b": 2}
    (tmp_path / "config.json").write_bytes(b"3")
    with pytest.raises(UserError, match=r"config\.json: it must hold a JSON object; copy it"):
        read_json_object(tmp_path / "config.json", "copy it")
