"""Waiting until a part can be used. Each wait ends when it is so; the caller gives up when the process dies."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

INTERVAL_S = 0.2


async def redis_answers(url: str) -> None:
    """Wait until the server at `url` answers a PING."""
    await _until(lambda: _pongs(url))


async def http_answers(url: str) -> None:
    """Wait until a GET of `url` gives 200."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        await _until(lambda: _is_200(client, url))


async def what_is_missing(url: str) -> str:
    """Return what the gateway's `/readyz` gives as the reason, empty where it says nothing."""
    try:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            return str((await client.get(url)).json()["error"]["message"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return ""


async def file_appears(path: Path) -> None:
    """Wait until `path` exists."""
    await _until(lambda: asyncio.to_thread(path.exists))


async def _until(there: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await there():
            return
        await asyncio.sleep(INTERVAL_S)


async def _pongs(url: str) -> bool:
    try:
        async with Redis.from_url(url) as client:
            return bool(await client.ping())
    except (RedisError, OSError):
        return False


async def _is_200(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
