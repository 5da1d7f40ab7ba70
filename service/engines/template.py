"""A chat template of our own, in place of the one that an engine knows.

It is rendered here since an engine takes a template from a request only when started with a flag that lets
everyone send one.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service.errors import InvalidRequest


def render(file: Path, messages: Sequence[dict[str, str]]) -> str:
    """Return the prompt text of a chat, special tokens included, ready for the assistant's turn.

    The template sees `messages` and `add_generation_prompt`, as in Hugging Face's `apply_chat_template`; special
    tokens are written out in it. Raises `InvalidRequest` where it refuses the messages or cannot be read.
    """
    try:
        return _load(file).render(messages=list(messages), add_generation_prompt=True, tools=None)
    except (TemplateError, OSError) as cause:
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
