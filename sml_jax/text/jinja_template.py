"""Rendering the chat template that a model brings along, a Jinja program, as `transformers` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sml_jax.common.errors import UserError


class PublicTemplate:
    """A chat template as published with a model: a program in Jinja's language that writes a whole chat as text.

    The program runs in Jinja's sandbox. Unlike in `transformers` it has no clock (`strftime_now`): the contexts of a
    run must not change at midnight. Templates of Llama 3.1 and 3.2 then write their own fixed date.

    Args:
      source: the program.
      special_tokens: texts by name ("bos_token"), which the program may use.
      origin: where it was found, for errors.

    Raises:
      UserError: the program is not written in Jinja's language.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], origin: str):
        self.source, self.special_tokens, self.origin = source, dict(special_tokens), origin
        # The settings, filters and functions of transformers.utils.chat_template_utils.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise UserError(f"{origin} is no Jinja template: {_one_line(error)}; fetch it again") from error

    def render(self, messages: Sequence[tuple[str, str]], **settings: object) -> str:
        """The text of a chat up to where the model speaks next.

        Args:
          messages: (role, text) of each message; the roles are "system", "user" and "assistant".
          settings: further variables of the program, such as `enable_thinking`.

        Raises:
          UserError: the program refuses the chat, or fails.
        """
        chat = [{"role": role, "content": text} for role, text in messages]
        variables = {"tools": None, "documents": None, "add_generation_prompt": True, **self.special_tokens, **settings}
        try:
            return self._template.render(messages=chat, **variables)
        except MemoryError:
            # For the child in which templates of models run, see `sml_jax.text.limited`.
            raise
        except Exception as error:
            # A program of somebody else's may raise anything: a wrong role, a missing variable, an index.
            raise UserError(f"{self.origin} fails on a chat: {_one_line(error)}") from error


class _Generation(Extension):
    """The tag `{% generation %}`, in which templates may wrap the model's messages. It writes its body unchanged."""

    tags = {"generation"}  # noqa: RUF012 (Jinja reads a plain set)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """Jinja's own filter of this name writes HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _refuse(message: str) -> NoReturn:
    """`raise_exception` in a template: it refuses the chat."""
    raise jinja2.TemplateError(message)


def _one_line(error: BaseException) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split())
