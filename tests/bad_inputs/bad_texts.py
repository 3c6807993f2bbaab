"""Bad tokenizers, chat formats and prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bad_files import Bad, Change, Files, changed, cut, gone

from sml_jax.pocket import ASSETS

Argv = Callable[[Files], list[str]]


def folder(**files: Change) -> Argv:
    """A chat model whose folder was damaged."""
    return lambda f: f.chat(model=f.damaged(f.hugging_face, **files))


def spec(change: Callable[[dict[str, Any]], object]) -> Argv:
    """A chat model whose tokenizer.json says something else."""

    def rewrite(content: bytes) -> bytes:
        whole = json.loads(content)
        change(whole)
        return json.dumps(whole).encode()

    return folder(tokenizer__json=rewrite)


def without(name: str) -> Argv:
    """A tokenizer that has another token in the place of a control token."""

    def rename(whole: dict[str, Any]) -> None:
        for token in whole["added_tokens"]:
            token["content"] = "<|other|>" if token["content"] == name else token["content"]

    return spec(rename)


def sentencepiece(content: bytes) -> Argv:
    return lambda f: f.train(f"RoleChat.tokenizer={f.write('mine.model', content)}")


def prompt(content: str | bytes, which: str = "teacher") -> Argv:
    return lambda f: f.chat(f"Prompts.{which}={f.write('mine.txt', content)}")


AGAIN, OWN = "fetch it again", "give the model's own tokenizer"
TOKENIZERS = {
    "no tokenizer": Bad(folder(tokenizer__json=gone), "holds no tokenizer.json", "copy the model's tokenizer.json"),
    "tokenizer.json cut": Bad(folder(tokenizer__json=cut), "tokenizer.json is not a tokenizer.json file", AGAIN),
    "tokenizer.json binary": Bad(folder(tokenizer__json=lambda _: b"\xff\x00"), "tokenizer.json is not", AGAIN),
    "tokenizer_config.json": Bad(
        folder(tokenizer__json=lambda _: b'{"tokenizer_class": "x"}'),
        "it has no model",
        "tokenizer_config.json is another",
    ),
    "a tokenizer of words": Bad(
        spec(lambda s: s["model"].update(type="WordLevel")), "of kind WordLevel", "only BPE and"
    ),
    "no vocabulary": Bad(spec(lambda s: s["model"].update(vocab={})), "not a tokenizer.json file that works", AGAIN),
    "merges of others": Bad(spec(lambda s: s["model"].update(merges=["q zz"])), "'?`?zz", AGAIN),
    "added tokens that are none": Bad(spec(lambda s: s.update(added_tokens="x")), "tokenizer.json is not", AGAIN),
    "an added token without a name": Bad(
        spec(lambda s: s["added_tokens"][0].pop("content")), "tokenizer.json is not .*content", AGAIN
    ),
    "an added token far away": Bad(
        spec(lambda s: s["added_tokens"][-1].update(id=9999)), "has id 9999", "number added tokens in one run"
    ),
    "no end of a turn": Bad(without("<|im_end|>"), r"needs <\|im_end\|>, but tokenizer", OWN),
    "no marker of a turn": Bad(without("<|im_start|>"), r"needs <\|im_start\|>, but tokenizer", OWN),
    "a tokenizer of another family": Bad(lambda f: f.chat("FamilyChat.family=gemma"), "gemma chat format needs", OWN),
    "an unknown family": Bad(lambda f: f.chat("FamilyChat.family=gpt2"), "no chat format 'gpt2'", "one of chatml"),
    "a family that does not think": Bad(
        lambda f: f.chat("FamilyChat.family=qwen2_5", "FamilyChat.thinking=True"), "qwen2_5 do not think", "to False"
    ),
    "a family that nothing tells": Bad(
        lambda f: f.chat(f"FamilyChat.tokenizer={f.damaged(f.hugging_face, config__json=gone)}"),
        "config.json",
        "set FamilyChat.family",
    ),
    "an end that is no control": Bad(
        folder(generation_config__json=changed(eos_token_id=7)), "generation_config.json: eos_token_id 7", "take it out"
    ),
    "generation_config.json cut": Bad(folder(generation_config__json=cut), "generation_config.json is not", AGAIN),
    "a .model of text": Bad(sentencepiece(b"hello"), "mine.model is not a SentencePiece model", "give the model's"),
    "a .model emptied": Bad(sentencepiece(b""), "mine.model is not a SentencePiece model", "give the model's"),
    "a .model cut": Bad(
        sentencepiece(cut((ASSETS / "pocket.model").read_bytes())),
        "mine.model is not a SentencePiece",
        "give the model's",
    ),
    "a tokenizer.json for roles": Bad(
        lambda f: f.train(f"RoleChat.tokenizer={f.hugging_face / 'tokenizer.json'}"),
        "is not a SentencePiece",
        "give the",
    ),
}
PROMPTS = {
    "no prompt": Bad(lambda f: f.chat("Prompts.teacher=nobody"), "no prompt 'nobody'", "give a path or one of"),
    "a prompt that is a folder": Bad(
        lambda f: f.chat(f"Prompts.teacher={f.folder}"), "no prompt", "give a path or one of"
    ),
    "a prompt in latin-1": Bad(prompt("{{question}} caf\xe9".encode("latin-1")), "mine.txt is not UTF-8", "save it as"),
    "an empty prompt": Bad(prompt(""), "mine.txt lacks the field {{question}}", "write it where"),
    "an unknown field": Bad(
        prompt("{{question}} {{reply}}"), "mine.txt: unknown field {{reply}}", "fields are {{question}}"
    ),
    "a part left open": Bad(
        prompt("{{question}} {{#knowledge}}"), "mine.txt: an optional part is not", "write {{#name}}"
    ),
    "a student that is told": Bad(
        prompt("{{question}} {{knowledge}}", "student"), "field {{knowledge}}", "its fields are"
    ),
    "an utterance twice": Bad(
        prompt("{{utterance}} {{utterance}}", "says"), "mine.txt must hold {{utterance}}", "once"
    ),
    "no tag in the teacher's prompt": Bad(
        prompt("{{question}} {{knowledge}}"), "never mentions <feedback>", "mention it"
    ),
    "a tag of two words": Bad(lambda f: f.chat("Prompts.feedback_tag='a b'"), "feedback_tag is 'a b'", "give letters"),
}
TABLE = {**TOKENIZERS, **PROMPTS}
