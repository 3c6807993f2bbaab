"""From a model's chat template to token pieces: a few chats of known texts are rendered and cut at these texts.

A template is a program that renders a whole chat. What it writes around the messages can be appended step by step only
if it does not depend on what follows, so everything that is derived here is checked on further chats.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.text.jinja_template import PublicTemplate
from sml_jax.text.limited import run_limited
from sml_jax.text.pieces import ChatPieces, Speaker, compose, names_pattern, thinking_markers

# Of computing time in a child; published templates take a hundredth of it.
_CPU_SECONDS = 10
# Texts that no template holds. The letters of each stand in one word, so that no template cuts them.
_SYSTEM, _USER, _MODEL = "xqsystemqx", tuple(f"xquser{n}qx" for n in range(3)), tuple(f"xqmodel{n}qx" for n in range(2))
# Texts of messages in the chats that the pieces are checked on. Each has something that a template may trip over.
_TEXTS = (
    "What is 12 times 34?",
    "  two lines\n\nwith white space around \n",
    "caf\u00e9 e\u0301 \u6f22\u5b57 \U0001f4a5 \u00a0",
    "```python\nprint('{{ x }}', \"{% if y %}\")\n```",
    "\nHm & <b>no</b> \\boxed{408}",
)


class _Unfit(Exception):
    """A template cannot be written as pieces; the text says why, as a clause that follows "it"."""


def derive_limited(template: PublicTemplate, controls: Mapping[str, int], thinking: bool) -> ChatPieces:
    """`derive_pieces` in a child with limited memory and computing time, for templates that came with a model.

    Raises:
      UserError: see `derive_pieces`; or the template takes too long or too much memory.
    """
    arguments = {
        "source": template.source,
        "special_tokens": template.special_tokens,
        "origin": template.origin,
        "controls": dict(controls),
        "thinking": thinking,
    }
    fields = run_limited(
        f"{__name__}:derived_fields",
        arguments,
        _CPU_SECONDS,
        lambda why: UserError(f"{template.origin} is no template that works: {why}; fetch it again"),
    )
    return ChatPieces(**{**fields, "stripped": frozenset(fields["stripped"])})


def derived_fields(
    source: str, special_tokens: Mapping[str, str], origin: str, controls: Mapping[str, int], thinking: bool
) -> dict[str, Any]:
    """`derive_pieces` for a child: the fields of the pieces as what JSON can write."""
    pieces = derive_pieces(PublicTemplate(source, special_tokens, origin), controls, thinking)
    return {**dataclasses.asdict(pieces), "stripped": sorted(pieces.stripped)}


def derive_pieces(template: PublicTemplate, controls: Mapping[str, int], thinking: bool) -> ChatPieces:
    """The pieces of a model's chat template.

    Args:
      template: the model's.
      controls: the ids of its tokenizer's control tokens by name.
      thinking: whether the model may think before it answers, which templates know as `enable_thinking`.

    Raises:
      UserError: the template fails, cannot be written as pieces that are only appended, or has no such choice of
        thinking.
    """
    _check_thinking(template, controls, thinking)
    try:
        pieces = _cut(template, controls, thinking)
        _verify(template, pieces, thinking)
    except _Unfit as reason:
        raise UserError(
            f"{template.origin} cannot be written as a chat that only grows: it {reason}. Put a template without this "
            "into chat_template.jinja beside the tokenizer, or set FamilyChat.family to a format that ships with "
            "sml-jax"
        ) from None
    if pieces.opens_thinking and not thinking:
        raise UserError(
            f"{template.origin} opens a block of thinking in every reply, so the model cannot answer without: set "
            "FamilyChat.thinking to True"
        )
    return pieces


def _check_thinking(template: PublicTemplate, controls: Mapping[str, int], thinking: bool) -> None:
    """Refuses thinking where the template knows nothing of it, or the tokenizer has no markers for it."""
    markers = thinking_markers(controls)
    if thinking and (markers is None or markers[1] not in template.source):
        opening, closing = markers or ("<think>", "</think>")
        raise UserError(
            f"{template.origin} has no thinking ({opening} and {closing} in the template and among the tokenizer's "
            "control tokens): set FamilyChat.thinking to False"
        )


def _cut(template: PublicTemplate, controls: Mapping[str, int], thinking: bool) -> ChatPieces:
    """The pieces as the renderings of a few chats show them."""
    # 1. A chat of five messages, cut at their texts.
    chat = [_USER[0], _MODEL[0], _USER[1], _MODEL[1], _USER[2]]
    start, *between, end = _between(_render(template, None, chat, thinking), chat)
    if between[:2] != between[2:]:
        raise _Unfit(f"writes {_shown(between[:2], between[2:])} around the first and the second reply")
    to_model, to_user = between[:2]

    # 2. Behind the model's text stands the token that ends it, which a sampled reply ends with too.
    lead, *stop_and_rest = names_pattern(controls).split(to_user, maxsplit=1)
    if not stop_and_rest:
        raise _Unfit(f"ends a reply with {to_user!r}, in which no control token tells where a sampled reply ends")
    if lead:
        raise _Unfit(f"writes {lead!r} between a reply and its end, which a model that speaks cannot be made to say")
    stop, rest = stop_and_rest
    user = rest.lstrip()
    after = rest[: len(rest) - len(user)]

    # 3. Before the model's text stands the end of the user's, then the model's own opening.
    close = stop + after if end.startswith(stop + after) else ""
    if not close:
        # Formats that close the user's message in their own way are not cut any further.
        close, model, earlier = end, "", ""
        if to_model != end:
            raise _Unfit(f"opens the last reply with {end!r} and earlier ones with {to_model!r}")
    else:
        model, earlier = end.removeprefix(close), to_model.removeprefix(close)
        if not (to_model.startswith(close) and model.startswith(earlier)):
            raise _Unfit(f"opens the last reply with {end!r} and earlier ones with {to_model!r}")

    # 4. The start, without and with a system message.
    system = _system_around(template, thinking)
    begin = _begin(start, user, controls)
    return ChatPieces(
        user=user,
        model=model,
        stop=stop,
        after=after,
        begin=begin,
        user_end=None if close == stop + after else close,
        default_start=None if start == begin + user else start,
        system_start=None if system is None else system[0],
        system_end="\n\n" if system is None else system[1],
        earlier_model=None if earlier == model else earlier,
        stripped=_stripped(template, thinking, system is not None),
    )


def _system_around(template: PublicTemplate, thinking: bool) -> tuple[str, str] | None:
    """The texts before a system's text, and between it and the first user's; None if the template takes no system."""
    try:
        rendered = _render(template, _SYSTEM, [_USER[0]], thinking)
    except UserError:
        return None
    if _SYSTEM not in rendered:
        return None
    start, middle, _ = _between(rendered, [_SYSTEM, _USER[0]])
    return start, middle


def _begin(start: str, user: str, controls: Mapping[str, int]) -> str:
    """The control tokens at the head of a context that belong to no message.

    Args:
      start: the text before the first user's text, which may hold a whole system message.
      user: the text that opens a user's message.
      controls: the control tokens.
    """
    if not start.endswith(user):
        return ""
    pattern = names_pattern(controls)
    _, *user_controls = pattern.split(user)
    texts_and_names = pattern.split(start.removesuffix(user))
    begin = ""
    # A system message would be opened by the same control token as the user's.
    for text, name in zip(texts_and_names[::2], texts_and_names[1::2], strict=False):
        if text or name in user_controls[:1]:
            break
        begin += name
    return begin


def _stripped(template: PublicTemplate, thinking: bool, takes_system: bool) -> frozenset[Speaker]:
    """The speakers whose texts the template strips of white space at both ends."""
    stripped: set[Speaker] = set()
    chats: dict[Speaker, tuple[str | None, list[str]]] = {
        "user": (None, [f" \n{_USER[0]}\n "]),
        "model": (None, [_USER[0], f" \n{_MODEL[0]}\n ", _USER[1]]),
    }
    if takes_system:
        chats["system"] = f" \n{_SYSTEM}\n ", [_USER[0]]
    for speaker, (system, texts) in chats.items():
        padded = next(text for text in (system or "", *texts) if text.startswith(" "))
        if padded not in _render(template, system, texts, thinking):
            stripped.add(speaker)
    return frozenset(stripped)


def _verify(template: PublicTemplate, pieces: ChatPieces, thinking: bool) -> None:
    """Compares the pieces with the template on chats of up to six user's messages."""
    systems = (None, "You help.", " Be brief.\n") if pieces.system_start is not None else (None,)
    for number, (system, turns) in enumerate(itertools.product(systems, (1, 2, 3, 6))):
        texts = [_TEXTS[(number + index) % len(_TEXTS)] for index in range(2 * turns - 1)]
        wanted, composed = _render(template, system, texts, thinking), compose(pieces, system, texts)
        if wanted != composed:
            # The first character that differs, with some of what surrounds it.
            pairs = itertools.zip_longest(wanted, composed)
            place = next(index for index, (left, right) in enumerate(pairs) if left != right)
            shown = slice(max(place - 20, 0), place + 20)
            raise _Unfit(
                f"writes {wanted[shown]!r} in a chat of {len(texts)} messages, where its other chats let expect "
                f"{composed[shown]!r}"
            )


def _render(template: PublicTemplate, system: str | None, texts: Sequence[str], thinking: bool) -> str:
    """A chat as the template writes it, texts of user and model in turn."""
    messages = [] if system is None else [("system", system)]
    messages += zip(itertools.cycle(("user", "assistant")), texts, strict=False)
    return template.render(messages, enable_thinking=thinking)


def _between(rendered: str, texts: Sequence[str]) -> list[str]:
    """What stands before, between and behind the texts."""
    pieces = []
    for text in texts:
        before, found, rendered = rendered.partition(text)
        if not found or text in rendered:
            raise _Unfit("leaves out a message, repeats it, or puts it in another place")
        pieces.append(before)
    return [*pieces, rendered]


def _shown(first: Sequence[str], second: Sequence[str]) -> str:
    """Two pairs of texts, for an error."""
    return " and ".join(repr(" ... ".join(texts)) for texts in (first, second))
