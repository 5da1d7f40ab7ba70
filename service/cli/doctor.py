"""`mull doctor`: ask every part for what a search needs, and say what is missing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import httpx
import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from service.engines.fleet import Fleet
from service.engines.probe import Finding, probe_policy, probe_reward
from service.redis_client import redis_client
from service.settings import Engine, Settings
from service.stack.in_force import settings_in_force

TIMEOUT_S = 5


def command() -> None:
    """Probe engines, Redis, Ray and the gateway; exit with 1 if something that is needed is missing."""
    if not asyncio.run(_show(settings_in_force())):
        raise typer.Exit(1)


async def _show(settings: Settings) -> bool:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("part", "", "what", "detail"):
        table.add_column(column, overflow="fold")
    fine = True
    console = Console(highlight=False)
    with console.status("Asking …"):
        async for part, finding in _findings(settings):
            mark = "[green]ok[/]" if finding.ok else "[red]missing[/]" if finding.needed else "[yellow]without[/]"
            table.add_row(part, mark, finding.name, finding.detail)
            fine = fine and (finding.ok or not finding.needed)
    console.print(table)
    console.print("Everything a search needs is there." if fine else "Something that is needed is missing.")
    return fine


async def _findings(settings: Settings) -> AsyncIterator[tuple[str, Finding]]:
    for name, policy in settings.policies.items():
        async for server, finding in _engine(policy, partial(probe_policy, policy)):
            yield f"policy {name}{server}", finding
    for name, reward in settings.reward_models.items():
        async for server, finding in _engine(reward, partial(probe_reward, reward)):
            yield f"reward {name}{server}", finding
    yield "redis", await _redis(settings)
    yield "ray", await _ray(settings.ray.address)
    yield "gateway", await _gateway(settings)


async def _engine(
    engine: Engine, probe: Callable[[Fleet], Awaitable[list[Finding]]]
) -> AsyncIterator[tuple[str, Finding]]:
    """Probe each server of an engine; of several each has its number."""
    if not engine.urls:
        yield "", _not_started("reachable")
        return
    async with Fleet(engine) as fleet:
        for number, server in enumerate(fleet.each(), 1):
            for finding in await probe(server):
                yield f" {number}" if len(engine.urls) > 1 else "", finding


async def _redis(settings: Settings) -> Finding:
    """Without Redis searches go on, uncached."""
    if not settings.redis.enabled:
        return Finding("reachable", False, False, "switched off: every repeated request is searched again")
    client = redis_client(settings.redis)
    if client is None:
        return _not_started("reachable")
    try:
        async with client, asyncio.timeout(TIMEOUT_S):
            server = await client.info("server")
    except (RedisError, OSError) as error:
        return Finding("reachable", False, False, f"{error}; repeated requests are searched again")
    version = server.get("valkey_version", server["redis_version"])
    return Finding("reachable", True, False, f"{server.get('server_name', 'redis')} {version}")


async def _ray(address: str | None) -> Finding:
    if address is None:
        return _not_started("reachable")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return Finding("reachable", True, True, f"{address} is looked up by Ray itself")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), TIMEOUT_S)
    except OSError as error:
        return Finding("reachable", False, True, f"{address}: {error}; see logs/workers.log, or correct ray.address")
    writer.close()
    return Finding("reachable", True, True, address)


async def _gateway(settings: Settings) -> Finding:
    url = f"{settings.gateway.url}/readyz"
    try:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            reply = await client.get(url)
    except httpx.HTTPError as error:
        return Finding("can answer", False, True, f"{url}: {type(error).__name__}; `mull up` starts it")
    return Finding("can answer", reply.is_success, True, url if reply.is_success else reply.text)


def _not_started(what: str) -> Finding:
    return Finding(what, False, True, "has no address and does not run: `mull up` starts it")
