"""What `deploy/compose.yaml` is told of each profile: `python -m deploy.compose_env` writes deploy/profiles/*.env.

The engines' arguments are those that `mull up` would give them, but for where they listen and where folders of models
lie: /models in the container is the folder models of the checkout.
"""

from __future__ import annotations

from pathlib import Path

from deploy.sizing import PROFILES, engines
from service.settings import Engine
from service.settings_file import load_settings
from service.stack.engine import engine_command

PORT = 8000
_MODULE = "vllm.entrypoints.openai.api_server"


def engine_arguments(engine: Engine, *, cpu: bool) -> list[str]:
    """Return vLLM's arguments for an engine in a container that listens on all its addresses."""
    command = engine_command(engine, port=PORT, profile="cpu" if cpu else "gpu", on_card=1)
    arguments = command[command.index(_MODULE) + 1 :]
    arguments[arguments.index("--host") + 1] = "0.0.0.0"
    if engine.model.startswith(("/", ".", "models/")):
        arguments[arguments.index("--model") + 1] = f"/models/{Path(engine.model).name}"
    return arguments


def environment(path: Path) -> str:
    """Return the text of a profile's .env file."""
    cpu = path.stem == "tiny"
    found = engines(load_settings(path, environ={}))
    services = "cpu" if cpu else "gpu" if "reward" in found else "votes"
    lines = [f"# Written by `python -m deploy.compose_env` from {path.name}."]
    lines += [f"MULL_PROFILE={path.stem}", f"COMPOSE_PROFILES={services}"]
    if "reward" in found:
        lines.append(f"MULL_REWARD_MODELS__REWARD__URL=http://reward:{PORT}")
    for role, engine in found.items():
        lines.append(f'{role.upper()}_ARGS="{" ".join(engine_arguments(engine, cpu=cpu))}"')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for profile in sorted(PROFILES.glob("*.yaml")):
        profile.with_suffix(".env").write_text(environment(profile))
