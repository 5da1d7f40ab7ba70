"""Far more clients at once than may come in: each has its answer, and nothing of them stays."""

import asyncio
import gc
import json
import logging
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_workers import settings
from served import gateway

from service.doors.keys import Quota, key_file

CROWD = 500
ALLOWED = 20
BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "What is 1+1?"}]}).encode()


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    """Let this process, which is client and server, have all those connections open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * CROWD)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """Keep pytest from keeping every line of the log: that would be counted as left behind."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


async def crowd(port: int, secret: str) -> Counter[tuple[int, bool]]:
    """Open all connections, then ask on all of them; count the statuses, and whether they say when to come back."""
    begun = asyncio.Event()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: mull\r\nauthorization: Bearer {secret}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\nconnection: close\r\n\r\n"

    async def ask() -> tuple[int, bool]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await begun.wait()
        writer.write(head.encode() + BODY)
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1]), b"\r\nretry-after: " in answer

    asking = [asyncio.create_task(ask()) for _ in range(CROWD)]
    await asyncio.sleep(0.2)
    begun.set()
    return Counter(await asyncio.gather(*asking))


async def test_crowd_over_its_quota_is_answered(tmp_path: Path) -> None:
    """As many as may come in have their answer, all others a refusal that says when to come back."""
    configuration = settings(state_dir=tmp_path)
    secret = key_file(configuration).add("alice", Quota(searches=CROWD, tokens_per_day=ALLOWED * 520))
    with gateway(configuration) as port:
        answers = await crowd(port, secret)
        assert set(answers) <= {(200, False), (429, True)}
        assert answers.total() == CROWD
        assert answers[200, False] >= ALLOWED


async def test_crowds_leave_nothing_behind(tmp_path: Path) -> None:
    """After many crowds the process holds no more than after one."""
    configuration = settings(state_dir=tmp_path)
    secret = key_file(configuration).add("alice", Quota(requests_per_minute=ALLOWED))
    with gateway(configuration) as port:
        held = []
        for _ in range(3):
            await crowd(port, secret)
            await asyncio.sleep(0.2)
            gc.collect()
            held.append(len(gc.get_objects()))
        assert held[-1] - held[0] < CROWD
