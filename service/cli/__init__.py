"""The command `mull`: one small module for each command."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from service.cli import config, demo, doctor, eval, keys, replay, report, reward, serve, solve, up
from service.errors import ConfigError, MullError


class _Group(TyperGroup):
    """Ends every command that raises one of our errors with its text and what to do next, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 2 if the configuration is wrong, with 1 if something else is."""
        try:
            return super().invoke(ctx)
        except MullError as error:
            typer.echo(f"{error.message}\n{error.hint}".strip(), err=True)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mull {version('mull')}")
        raise typer.Exit


@app.callback()
def mull(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="MULL_CONFIG",
            help="The configuration; default: ./mull.yaml, else the one that comes with Mull.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make the vLLM you already run better at math, by searching under a budget you set."""
    if config is not None:
        os.environ["MULL_CONFIG"] = str(config)


app.command("up")(up.up)
app.command("down")(up.down)
app.command("serve")(serve.serve)
app.command("solve")(solve.command)
app.command("replay")(replay.command)
app.command("eval")(eval.command)
app.command("demo")(demo.command)
app.command("doctor")(doctor.command)
app.command("report")(report.command)
app.add_typer(reward.app, name="reward")
app.add_typer(keys.app, name="keys")
app.add_typer(config.app, name="config")
