"""Every example in the README and the docs is one that works: what needs no stack."""

import importlib
import json
import re
import shlex
from argparse import ArgumentParser
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from examples import ROOT, SHELL, Example, blocks, commands

from service.cli import app
from service.settings import Settings
from service.settings_file import load_settings

MAKEFILE = (ROOT / "Makefile").read_text()
LANGUAGES = (*SHELL, "python", "json", "yaml", "", "text")
RUN_BY_OTHERS = {
    "curl": "test_examples_on_the_stack.py sends it",
    "pip": "installs what the release holds, which is not there before it is made",
}
"""Programs whose commands are not looked at here, and why."""


def words(command: Example) -> tuple[dict[str, str], list[str]]:
    """Return a command's variables and its words, comments taken away."""
    parts = shlex.split(command.text, comments=True)
    count = next((i for i, part in enumerate(parts) if not re.match(r"[A-Z_]+=", part)), len(parts))
    return dict(part.split("=", 1) for part in parts[:count]), parts[count:]


def test_there_are_examples() -> None:
    """The pages are found, and blocks of each kind in them."""
    assert {block.language for block in blocks(*LANGUAGES)} >= {*SHELL, "python"}


@pytest.mark.parametrize("command", commands(), ids=str)
def test_command_would_run(command: Example, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its program, subcommands, options and values are ones that exist."""
    variables, parts = words(command)
    load_settings(None, variables)
    match parts:
        case ["mull", *arguments]:
            parsed(arguments)
        case ["make", *targets]:
            assert [t for t in targets if re.search(rf"^{t}:", MAKEFILE, re.MULTILINE) is None] == []
        case ["python" | "python3" | ".venv/bin/python", "-m", module, *arguments]:
            run_to_its_arguments(module, arguments, monkeypatch)
        case [program, *_]:
            assert program in RUN_BY_OTHERS


def parsed(arguments: list[str]) -> None:
    """Have the command line parsed down to its last subcommand, and nothing run."""
    command: click.Command = typer.main.get_command(app)
    context = command.make_context("mull", arguments)
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
        context = command.make_context(name, rest, parent=context)


class Parsed(Exception):
    """The arguments were understood."""


def run_to_its_arguments(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a module's `main` until it has parsed its arguments."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    if "parse_args" not in Path(spec.origin).read_text():
        assert arguments == []
        return
    parse = ArgumentParser.parse_args

    def parse_and_stop(parser: ArgumentParser) -> Any:
        parse(parser, arguments)
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", parse_and_stop)
    main = importlib.import_module(module).main
    with pytest.raises(Parsed):
        begun = main()
        begun.send(None)  # of an async function


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Example) -> None:
    """It can be read."""
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_configuration_is_valid(block: Example) -> None:
    """Put over the configuration that ships with the project, every key of it is one that settings have."""
    shipped = yaml.safe_load((ROOT / "mull.yaml").read_text())
    Settings.model_validate(merged(shipped, yaml.safe_load(block.text)))


def merged(base: Any, over: Any) -> Any:
    """Return `over` laid over `base`, key by key."""
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


def test_every_block_has_a_known_language() -> None:
    """So that none is overlooked."""
    everything = re.compile(r"^```(\w+)", re.MULTILINE)
    named = {
        language for page in {b.page for b in blocks(*LANGUAGES)} for language in everything.findall(page.read_text())
    }
    assert named <= set(LANGUAGES)
