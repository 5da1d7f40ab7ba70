"""The supervisor with harmless processes in the place of engines."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.errors import StackError
from service.settings import Settings
from service.stack import supervisor as supervising
from service.stack.plan import Part, Plan
from service.stack.processes import Pid, session
from service.stack.state import State, StateDir
from service.stack.supervisor import Supervisor

SETTINGS = Settings.model_validate({"policies": {"p": {"model": "m"}}, "models": {"m": {"policy": "p"}}})
SLEEP = ["sleep", "60"]


async def at_once() -> None:
    """The readiness of a part that needs no time."""


class Scene:
    """A supervisor at work, what it said, and what it wrote down."""

    def __init__(
        self,
        folder: Path,
        parts: list[Part],
        ready: Callable[[], Awaitable[object]] = at_once,
        url: str = "http://nowhere",
    ) -> None:
        self.said: list[str] = []
        self.dir = StateDir(folder)
        self.dir.create()
        self.state = State(Pid.of(os.getpid()), url, str(folder))
        self.stopped, self.ready = asyncio.Event(), asyncio.Event()
        plan = Plan(parts, SETTINGS, self.state.url, ready)
        self.supervisor = Supervisor(plan, self.state, self.dir, self.said.append)

    async def run(self) -> None:
        await asyncio.wait_for(self.supervisor.run(self.stopped, self.ready.set), 20)

    def pid(self, name: str) -> Pid:
        return self.state.part(name).process

    async def until(self, line: str) -> None:
        async with asyncio.timeout(10):
            while True:
                if any(line in said for said in self.said):
                    return
                await asyncio.sleep(0.02)


def part(name: str, command: list[str] = SLEEP, **more: object) -> Part:
    return Part(name, command, "url", **{"ready": at_once, **more})  # type: ignore[arg-type]


async def test_stop_ends_all_parts(tmp_path: Path) -> None:
    """After a stop nothing of what was started runs."""
    scene = Scene(tmp_path, [part("a"), part("b", after=("a",))])
    running = asyncio.create_task(scene.run())
    await scene.ready.wait()
    assert scene.pid("a").alive()
    assert scene.pid("b").alive()
    scene.stopped.set()
    await running
    assert session(scene.pid("a")) == session(scene.pid("b")) == []


async def test_state_on_disk_names_what_runs(tmp_path: Path) -> None:
    """Another process reads the same parts and processes, and that the stack is ready."""
    scene = Scene(tmp_path, [part("a")])
    running = asyncio.create_task(scene.run())
    await scene.ready.wait()
    assert scene.dir.load() == scene.state
    assert scene.state.ready
    scene.stopped.set()
    await running


async def test_part_that_dies_while_starting_stops_the_stack(tmp_path: Path) -> None:
    """The error has the exit code, the log's path and its last lines; nothing is left running."""
    broken = ["sh", "-c", "echo no such model; exit 1"]
    scene = Scene(tmp_path, [part("a"), part("b", broken, after=("a",), ready=asyncio.Event().wait)])
    with pytest.raises(StackError) as caught:
        await scene.run()
    assert "b stopped while starting (exit code 1)" in caught.value.message
    assert "no such model" in caught.value.message
    assert str(tmp_path / "logs" / "b.log") in caught.value.message
    assert session(scene.pid("a")) == []


async def test_a_stack_that_cannot_answer_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gateway misses is in the error: the stack is down by the time that somebody could ask it."""
    monkeypatch.setattr(supervising, "ANSWER_LIMIT_S", 0.1)
    app = web.Application()
    app.router.add_get("/readyz", _not_ready)
    async with TestServer(app) as server:
        scene = Scene(tmp_path, [part("a")], ready=asyncio.Event().wait, url=str(server.make_url("")).rstrip("/"))
        with pytest.raises(StackError, match=r"after 0\.1 s\. Not ready: the judge is too long"):
            await scene.run()


async def _not_ready(_: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "Not ready: the judge is too long."}}, status=503)


async def test_part_with_tries_left_is_started_again(tmp_path: Path) -> None:
    """A first start that fails once is no failure of the stack."""
    once = ["sh", "-c", f"test -e {tmp_path}/tried && exec sleep 60; touch {tmp_path}/tried; echo too slow; exit 1"]

    async def ready() -> None:
        while True:
            if (tmp_path / "tried").exists() and any("too slow" in line for line in scene.said):
                return
            await asyncio.sleep(0.02)

    scene = Scene(tmp_path, [part("ray", once, ready=ready, tries=2)])
    running = asyncio.create_task(scene.run())
    await scene.ready.wait()
    assert scene.pid("ray").alive()
    scene.stopped.set()
    await running


async def test_dead_part_comes_back_and_the_rest_stays(tmp_path: Path) -> None:
    """A killed part is started again and said so; a part that does not depend on it is not touched."""
    scene = Scene(tmp_path, [part("a"), part("b")])
    running = asyncio.create_task(scene.run())
    await scene.ready.wait()
    before = scene.pid("a"), scene.pid("b")
    os.kill(before[0].pid, signal.SIGKILL)
    await scene.until("a is back")
    assert any("a died (killed by SIGKILL)" in line for line in scene.said)
    assert scene.pid("a") != before[0]
    assert scene.pid("b") == before[1]
    scene.stopped.set()
    await running


async def test_stop_while_starting(tmp_path: Path) -> None:
    """A stop does not wait for parts that never get ready."""
    scene = Scene(tmp_path, [part("a"), part("slow", ready=asyncio.Event().wait)])
    running = asyncio.create_task(scene.run())
    await scene.until("a ")
    scene.stopped.set()
    await running
    assert session(scene.pid("slow")) == []
    assert not scene.ready.is_set()
