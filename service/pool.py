"""Samples kept in Redis by question and index: whoever asks again goes on from them."""

import asyncio
import hashlib
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from contextvars import Context
from functools import partial
from importlib.metadata import version
from itertools import islice
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from service.redis_link import RedisLink
from service.revision import policy_revision
from service.search.pooling import Kept, certainty_of
from service.search.request import SearchRequest
from service.settings import Settings
from strategies.sample import Greedy

FORMAT = 1
"""Raised whenever `Kept`, or how a text is read, changes; values of another format are not known."""
MOST_BYTES = 128 * 1024
"""Longest sample that is kept, compressed."""
MOST_UNWRITTEN = 4096
"""Samples that wait to be written, of all searches of a worker; of more the oldest are let go."""
AT_ONCE = 16
"""Samples read or written with one command."""
FLUSH_S = 1.0
"""Longest that closing waits for what is left to be written."""

_FURTHER = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
local tag, progress = ARGV[2], ARGV[3]
if held and string.sub(held, 1, #tag) == tag and string.sub(held, #tag + 1, #tag + #progress) >= progress then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[1], tag .. progress .. ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""
"""Keeps a value unless one of the same version is as far: an ended sample is further than one that has not ended."""
_PROGRESS = 12
"""Bytes before a value that say how far it is."""
_sample: TypeAdapter[Kept] = TypeAdapter(Kept)
Entry = tuple[str, int]
"""A question's key and an index."""


class CandidatePools:
    """The pools of all questions, for the searches of one worker. Belongs to one event loop.

    Only whole samples are kept, as flat strategies take them: of a tree it is the scores that are remembered
    (`service/score_store.py`). What is written waits for no reply and holds up no search. Raises `OSError` where a
    policy's files cannot be read.
    """

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        self.link = link
        self._settings = settings
        models = () if link.state == "off" else settings.models
        self._policies = {model: policy_revision(settings, model) for model in models}
        self.tag = f"mull/{FORMAT}/{version('mull')}\n".encode()
        self._unwritten: dict[Entry, Kept] = {}
        self._writing: asyncio.Task[None] | None = None

    def of(self, request: SearchRequest) -> "RedisPool | None":
        """Return the pool of a request's question; `None` where it has none, or wants none."""
        if request.memory == "none" or request.model not in self._policies:
            return None
        if request.strategy.stepwise or isinstance(request.strategy, Greedy) or request.logprobs is not None:
            return None
        return RedisPool(self, self._key(request), reads=request.memory == "use")

    def put(self, key: str, index: int, sample: Kept) -> None:
        """Begin to write a sample; of one that is put again meanwhile, what was put last is written."""
        self._unwritten[key, index] = sample
        if len(self._unwritten) > MOST_UNWRITTEN:
            del self._unwritten[next(iter(self._unwritten))]
        if self._writing is None:
            # Not within the request that is being served: what that may wait for Redis is none of this.
            self._writing = asyncio.get_running_loop().create_task(self._write(), context=Context())

    async def aclose(self) -> None:
        """Write what is left, for at most `FLUSH_S` seconds. The link stays open."""
        if self._writing is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._writing, FLUSH_S)

    def _key(self, request: SearchRequest) -> str:
        """Return the name for everything that decides what the policy writes, and how it is read.

        How many samples are wanted, how they are selected and what they may cost is no part of it.
        """
        policy = self._settings.policies[self._settings.models[request.model].policy]
        decides = {"messages", "prompt", "chat_template_kwargs", "sampling", "constraint", "seed", "answer"}
        whole = {
            "policy": self._policies[request.model],
            "asked": request.model_dump(mode="json", include=decides),
            "cap": request.max_completion_tokens or policy.sampling.max_tokens,
            "certainty": certainty_of(request),
        }
        return "mull:pool:" + hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    async def _write(self) -> None:
        try:
            while self._unwritten:
                batch: dict[Entry, tuple[str, bytes]] = {}
                for at in list(islice(self._unwritten, AT_ONCE)):
                    if (sample := self._unwritten.pop(at, None)) is None:
                        continue  # let go meanwhile
                    value = zlib.compress(_sample.dump_json(sample), level=1)
                    if len(value) <= MOST_BYTES:
                        batch[at] = f"{sample.end is not None:d}{sample.tokens:010d}\n", value
                    await asyncio.sleep(0)  # long ones take a moment each
                await self.link.ask(partial(self._set, batch))
        finally:
            self._writing = None

    async def _set(self, batch: Mapping[Entry, tuple[str, bytes]], redis: Redis) -> None:
        async with redis.pipeline(transaction=False) as pipeline:
            for (key, index), (progress, value) in batch.items():
                arguments = index, cast(str, self.tag), progress, cast(str, value), self._settings.redis.ttl_s
                pipeline.eval(_FURTHER, 1, key, *arguments)
            await pipeline.execute()


class RedisPool:
    """Implements `pooling.CandidatePool`: a hash in Redis. Without `reads` it is only added to."""

    def __init__(self, pools: CandidatePools, key: str, *, reads: bool) -> None:
        self._pools = pools
        self._key = key
        self._reads = reads
        self._values: list[Any] = []

    async def open(self, samples: int) -> None:
        """Read the first `samples`, as far as Redis tells them in time, up to where it has none."""
        while self._reads and (known := len(self._values)) < samples:
            indices = [str(index) for index in range(known, min(samples, known + AT_ONCE))]
            answered, values = await self._pools.link.ask(partial(self._read, indices))
            if not answered or not any(values):
                return
            self._values += values

    async def _read(self, indices: list[str], redis: Redis) -> Any:
        return await redis.hmget(self._key, indices)

    def get(self, index: int) -> Kept | None:
        """Return a sample; what another version has kept, or anything else that is none, is not known."""
        value = self._values[index] if index < len(self._values) else None
        tag = self._pools.tag
        if not isinstance(value, bytes) or not value.startswith(tag):
            return None
        try:
            sample = _sample.validate_json(zlib.decompress(value[len(tag) + _PROGRESS :]))
        except (zlib.error, ValidationError):
            return None
        return sample if sample.requests and all(r.node == (index,) for r in sample.requests) else None

    def put(self, index: int, sample: Kept) -> None:
        """Begin to write a sample."""
        self._pools.put(self._key, index, sample)
