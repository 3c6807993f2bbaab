"""Trying a tokenizer out in a process of its own, before this one relies on it.

The libraries of tokenizers run what their file says: regular expressions that may take for ever, texts that replace
others by longer ones, tables that are read without a look. Nothing in the process that calls them can end such a call,
and a crash in one ends the process. So a file with unusual parts is read and used by a child first, whose memory and
computing time the system limits. The child costs half a second and the time of loading the file once more; files with
the usual parts alone (`tokenizer_json.is_usual`, `sentencepiece_model.is_usual`) need none.

What the child shows is that the file works on the texts below, not that it does on all texts.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.text.growth import check_decoded_length

# Of the child: its memory, and its computing time, which does not depend on what else the machine does.
_MEMORY_BYTES, _CPU_SECONDS, _MAX_WALL_SECONDS = 1 << 30, 2, 60
_CPU_SECONDS_A_MEGABYTE = 0.1  # of the file, for reading it
_REPEATS = 600

# Words, numbers, code, white space, accents, other scripts, emoji made of several characters, and control characters.
_TEXTS = (
    "The answer is 42: 3.14 * (x + y) == f'{name}'\n\tdef solve(a, b):\r\n        return a[0] // b\n\n\n",
    "\u00e9\u00e8 na\u00efve \ufb01 \ufdfa \u1e9b\u0323 a\u0301\u0302 \u6f22\u5b57 \u3042 \ud55c \u0645 \u0915\u094d",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f4a5 \x00\x01\x1b\x7f\u200b\ufeff\u2581",
)


def try_out(path: Path, patterns: Sequence[str] = ()) -> None:
    """Loads a tokenizer in a child with limited memory and time, and encodes and decodes texts with it.

    Args:
      path: a tokenizer.json or .model file.
      patterns: texts and regular expressions that its description looks for; they are tried as texts too.

    Raises:
      UserError: the tokenizer cannot be loaded, takes too long or too much memory, crashes, or makes far more of a text
        than there is.
    """
    _try_out(str(path.absolute()), sha256(path.read_bytes()).hexdigest(), tuple(patterns))


# By its content, so that a file is tried once by a process that loads it several times.
@lru_cache(maxsize=64)
def _try_out(path: str, _content: str, patterns: tuple[str, ...]) -> None:
    """`try_out` of a file with this content."""
    cpu_seconds = _CPU_SECONDS + int(os.path.getsize(path) * _CPU_SECONDS_A_MEGABYTE / 1e6)
    environment = {
        **os.environ,
        # The child imports what this process would, and stays in one thread: each further one takes address space.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "1",
    }
    code = "from sml_jax.text.trial import main; main()"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            input=json.dumps({"path": path, "patterns": patterns, "cpu_seconds": cpu_seconds}),
            capture_output=True,
            timeout=_MAX_WALL_SECONDS,
            env=environment,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _refused(path, f"it has not come to an end after {_MAX_WALL_SECONDS} seconds") from None
    # The child ends in its own words, or the system has ended it.
    if done.returncode == 0 and done.stdout.startswith("{"):
        error = json.loads(done.stdout)["error"]
        if error:
            raise UserError(error)
    elif done.returncode in (-24, -9):  # SIGXCPU, and SIGKILL a second later
        raise _refused(path, f"it has not come to an end after {cpu_seconds} seconds of computing")
    elif "memory" in done.stderr.lower() or "bad_alloc" in done.stderr:
        raise _refused(path, f"it asks for more than {_MEMORY_BYTES >> 20} MiB of memory")
    else:
        last_line = next(reversed(done.stderr.splitlines()), "")[:200]
        raise _refused(path, f"its library crashes (exit code {done.returncode}: {last_line})")


def _refused(path: str, why: str) -> UserError:
    """The error for a tokenizer that does not work."""
    return UserError(f"{path} is not a tokenizer that works: {why}; give the model's own tokenizer")


def main() -> None:
    """The child: reads what to try from its standard input, and writes what is wrong with it to its standard output."""
    task = json.loads(sys.stdin.read())
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (task["cpu_seconds"], task["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    error = ""
    try:
        _use(Path(task["path"]), task["patterns"])
    except UserError as refusal:
        error = str(refusal)
    except MemoryError:
        error = str(_refused(task["path"], f"it asks for more than {_MEMORY_BYTES >> 20} MiB of memory"))
    print(json.dumps({"error": error}))


def _use(path: Path, patterns: Sequence[str]) -> None:
    """Loads a tokenizer, and encodes and decodes many texts with it."""
    from sml_jax.text.huggingface import HuggingFaceTokenizer
    from sml_jax.text.tokenizer import SentencePieceTokenizer

    with warnings.catch_warnings():
        # The process that asked warns itself.
        warnings.simplefilter("ignore")
        if path.suffix == ".json":
            tokenizer: HuggingFaceTokenizer | SentencePieceTokenizer = HuggingFaceTokenizer(path, tried=True)
        else:
            tokenizer = SentencePieceTokenizer(path, tried=True)
    characters = [chr(code) for code in range(32, 127)]
    # Runs of one character, with and without another at their end, are what expressions that go back and forth take
    # longest over.
    runs = [character * _REPEATS + end for character in characters for end in ("", "\x00")]
    for text in (*_TEXTS, *(text * 50 for text in _TEXTS), *patterns, *(text * 50 for text in patterns), *runs):
        tokens = tokenizer.encode(text)
        check_decoded_length(path, len(text), tokenizer.decode(tokens))
