"""A chat template of our own, in place of the one that an engine knows.

It is rendered here since an engine takes a template from a request only when started with a flag that lets
everyone send one.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service.errors import InvalidRequest
from service.search.ports import NO_VARIABLES


def render(file: Path, messages: Sequence[dict[str, str]], variables: Mapping[str, Any] = NO_VARIABLES) -> str:
    """Return the prompt text of a chat, special tokens included, ready for the assistant's turn.

    The template sees `messages`, `add_generation_prompt` and `variables`, as in Hugging Face's `apply_chat_template`;
    special tokens are written out in it. Raises `InvalidRequest` where it refuses the messages or cannot be read.
    """
    try:
        own = {"messages": list(messages), "add_generation_prompt": True, "tools": None}
        return _load(file).render({**variables, **own})
    except (TemplateError, TypeError, ValueError, OSError) as cause:  # a variable may be of another type than expected
        raise InvalidRequest(
            f"The chat template {file.name} cannot render these messages: {cause}",
            hint="Change the order of roles, or the policy's prompt.template_file.",
            param="messages",
        ) from cause


@cache
def _load(file: Path) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, extensions=[loopcontrols]
    )
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(file.read_text(encoding="utf-8"))


def _refuse(message: str) -> None:
    raise TemplateError(message)
