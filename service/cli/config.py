"""`mull config check`: what is in force, after the file, the environment and the defaults."""

import typer
import yaml
from rich.console import Console
from rich.syntax import Syntax

from service.settings_file import config_path, load_settings, plain

app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")


@app.callback()
def group() -> None:
    """Keep `check` a command of its own."""


@app.command()
def check() -> None:
    """Validate the configuration and print what is in force, secrets hidden."""
    path = config_path()
    text = yaml.safe_dump(plain(load_settings(path), reveal=False), sort_keys=False, allow_unicode=True)
    console = Console()
    if console.is_terminal:
        console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
    else:
        typer.echo(text, nl=False)
    Console(stderr=True).print(f"{path} is valid.", highlight=False)
