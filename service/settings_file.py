"""Settings from `mull.yaml` with `MULL_…` environment variables laid over it, and back to a file.

`MULL_GATEWAY__PORT=9000` overrides `gateway.port`, `MULL_POLICIES__TINY_POLICY__URL=…` the `url` of `tiny-policy`: two
underscores go one level down, case and the difference between `-` and `_` do not matter.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from service.errors import ConfigError
from service.settings import Settings

PREFIX = "MULL_"
PACKAGED = Path(__file__).resolve().parent.parent / "mull.yaml"
"""The laptop configuration that comes with the project."""


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file in force: `MULL_CONFIG`, else `mull.yaml` here, else the packaged one."""
    if named := environ.get("MULL_CONFIG"):
        return Path(named)
    here = Path("mull.yaml")
    return here if here.is_file() else PACKAGED


def load_settings(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration; relative model and template paths count from the file's own folder.

    Raises `ConfigError` with one line per problem, each with the path of the key.
    """
    path = path or config_path(environ)
    data = _read(path)
    origin = _override(data, environ)
    _anchor(data, path.resolve().parent)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise ConfigError(str(path), [_readable(e["loc"], e, origin) for e in error.errors()]) from None


def is_override(variable: str) -> bool:
    """Tell whether an environment variable sets an option.

    One without `__` that names no option is none of ours: a container platform sets `MULL_SERVICE_HOST`.
    """
    option = variable.removeprefix(PREFIX).lower()
    return variable.startswith(PREFIX) and ("__" in option or option in Settings.model_fields)


def plain(settings: Settings, *, reveal: bool) -> dict[str, Any]:
    """Return the settings as YAML-ready data; secrets are shown only if `reveal`."""

    def show(value: Any) -> Any:
        match value:
            case SecretStr():
                return value.get_secret_value() if reveal else str(value)
            case dict():
                return {key: show(v) for key, v in value.items()}
            case list() | tuple():
                return [show(v) for v in value]
            case None | bool() | int() | float() | str():
                return value
            case _:  # paths and URLs
                return str(value)

    shown: dict[str, Any] = show(settings.model_dump())
    return shown


def save_settings(settings: Settings, path: Path) -> None:
    """Write the settings, secrets included, to a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        yaml.safe_dump(plain(settings, reveal=True), file, sort_keys=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), ["there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError(str(path), ["is not YAML: " + " ".join(str(error).split())]) from None
    if not isinstance(data, dict):
        raise ConfigError(str(path), ["must be a mapping with the keys " + ", ".join(Settings.model_fields)])
    return data


def _override(data: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Lay the environment over `data`; return which variable set which key."""
    origin: dict[str, str] = {}
    for variable, text in sorted(environ.items()):
        if not is_override(variable):
            continue
        where = variable.removeprefix(PREFIX).lower().split("__")
        level, keys = data, []
        for part in where[:-1]:
            keys.append(_same_key(level, part))
            if not isinstance(level.get(keys[-1]), dict):
                level[keys[-1]] = {}
            level = level[keys[-1]]
        keys.append(_same_key(level, where[-1]))
        level[keys[-1]] = _value(variable, text)
        origin[".".join(keys)] = variable
    return origin


def _same_key(level: Mapping[str, Any], part: str) -> str:
    def bare(key: str) -> str:
        return str(key).lower().replace("-", "_").replace(".", "_")

    return next((key for key in level if bare(key) == bare(part)), part)


def _value(variable: str, text: str) -> Any:
    """Return JSON where it looks like a list, an object or null; other values are typed by their option."""
    if text != "null" and not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(variable, [f"looks like JSON but is not: {error}"]) from None


def _anchor(data: dict[str, Any], folder: Path) -> None:
    """Make paths of models and templates absolute; what is no path in `folder` stays: a hub's name."""
    for group in ("policies", "reward_models"):
        engines = data.get(group)
        for engine in engines.values() if isinstance(engines, dict) else ():
            if not isinstance(engine, dict):
                continue
            if isinstance(model := engine.get("model"), str) and (folder / model).exists():
                engine.setdefault("served_name", Path(model).name)
                engine["model"] = str((folder / model).resolve())
            prompt = engine.get("prompt")
            if isinstance(prompt, dict) and isinstance(template := prompt.get("template_file"), str):
                prompt["template_file"] = str((folder / template).resolve())


def _readable(loc: tuple[int | str, ...], error: Any, origin: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in loc)
    if key in origin:
        key = f"{key} (set by {origin[key]})"
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: there is no such option; known here: {', '.join(_known(Settings, loc[:-1]))}"
        case "missing":
            return f"{key}: is required"
        case "value_error":
            return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
        case _:
            shown = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
            return f"{key}: {error['msg']}{shown}"


def _known(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the option names at a place in the configuration."""
    if not loc:
        return list(model.model_fields)
    kind = model.model_fields[str(loc[0])].annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _known(kind, loc[1:])
    inner = next((a for a in get_args(kind) if isinstance(a, type) and issubclass(a, BaseModel)), None)
    return _known(inner, loc[2:]) if inner else []
