"""`mull up`, `mull serve` and `mull down`."""

import json
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from reward_models.presets import PRESETS
from service.errors import ConfigError, StackError
from service.settings import RewardSettings, Settings
from service.settings_file import load_settings
from service.stack.engine import Profile, detect_profile
from service.stack.lifecycle import run_stack, start_detached, stop_stack
from service.stack.plan import plan_stack
from service.stack.state import State, StateDir

QUESTION = "Al has 12 pens. Al has 5 fewer pens than Bo. Bo needs 4 more pens to match Cy. How many pens does Cy have?"

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return once it can answer, and leave it running.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the commands that would be run.")]
Reward = Annotated[
    str | None,
    typer.Option("--reward", metavar="PRESET", help="Judge with this reward model; `mull reward presets` lists them."),
]
ProfileOption = Annotated[
    Literal["auto", "cpu", "gpu"],
    typer.Option("--profile", help="How to start vLLM; auto: gpu where nvidia-smi is installed."),
]


def up(reward: Reward = None, detach: Detach = False, dry_run: DryRun = False, profile: ProfileOption = "auto") -> None:
    """Start what is missing, wait until an answer can be given, and stop it all on Ctrl-C."""
    settings = load_settings()
    if reward is not None:
        settings = judged_by(settings, reward)
    start(settings, detach=detach, dry_run=dry_run, profile=profile)


def judged_by(settings: Settings, reward: str) -> Settings:
    """Return the configuration in which a reward model, configured or a preset, judges for all models.

    Raises `ConfigError` where there is none of that name.
    """
    known = dict(settings.reward_models)
    if reward not in known:
        if reward not in PRESETS:
            names = ", ".join([*known, *PRESETS])
            raise ConfigError("--reward", [f"there is no reward model {reward!r}; known: {names}"])
        known[reward] = RewardSettings.model_validate({"preset": reward})
    models = {
        name: model.model_copy(update={"reward": reward, "judge": None}) for name, model in settings.models.items()
    }
    return settings.model_copy(update={"reward_models": known, "models": models})


def down() -> None:
    """Stop what `mull up` started, also after it crashed, and nothing else."""
    console = Console(highlight=False)
    if stop_stack(load_settings().state_dir, console.print):
        console.print("Mull is down.")
    else:
        console.print("Nothing is running.")


def start(settings: Settings, *, detach: bool, dry_run: bool, profile: Literal["auto", "cpu", "gpu"]) -> None:
    """Bring a stack up as the options say."""
    chosen = detect_profile() if profile == "auto" else profile
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if dry_run:
        _print_commands(settings, chosen)
        return
    _check_converted(settings)
    if detach:
        with console.status("Starting (the first time takes longer) …"):
            state = start_detached(settings, profile=chosen, say=console.print)
        _welcome(console, settings, state)
    else:
        spinner = console.status("Starting (the first time takes longer) …")

        def ready(state: State) -> None:
            spinner.stop()
            _welcome(console, settings, state)
            console.print("Ctrl-C stops it.")

        spinner.start()
        try:
            run_stack(settings, profile=chosen, say=console.print, on_ready=ready)
        finally:
            spinner.stop()
        console.print("Mull is down.")


def _check_converted(settings: Settings) -> None:
    """Raise `StackError` where a reward model that is to be started must first be converted."""
    for name in settings.models:
        reward = settings.reward_of(name)
        preset = PRESETS[reward.preset] if reward is not None and reward.preset is not None else None
        if reward is None or preset is None or preset.convert is None or reward.url is not None:
            continue
        if reward.model == preset.model and not Path(reward.model).is_dir():
            raise StackError(
                f"vLLM cannot serve {preset.convert} as it is published, and there is no {reward.model}.",
                hint=f"Download it, then: mull reward convert FOLDER {reward.model}",
            )


def _print_commands(settings: Settings, profile: Profile) -> None:
    state_dir = StateDir(settings.state_dir)
    with tempfile.TemporaryDirectory(prefix="mull-") as scratch:
        plan = plan_stack(settings, profile=profile, state_dir=state_dir, scratch=Path(scratch))
    for part in plan.parts:
        shown = {name: "…" if name.endswith("KEY") else value for name, value in part.environment.items()}
        variables = [f"{name}={shlex.quote(value)}" for name, value in shown.items()]
        typer.echo(f"# {part.name}: {part.url}\n{' '.join([*variables, shlex.join(part.command)])}\n")


def _welcome(console: Console, settings: Settings, state: State) -> None:
    model = next(iter(settings.models))
    messages = [{"role": "user", "content": QUESTION}]
    body = json.dumps({"model": model, "reasoning_effort": "medium", "messages": messages})
    console.print(f"\nMull is ready on {state.url}. Logs are in {settings.state_dir / 'logs'}. Try:\n")
    console.print(f"  curl {state.url}/v1/chat/completions \\")
    console.print(f"    -H 'Content-Type: application/json' -d '{body}'\n")
    console.print("`mull down` stops it.")
