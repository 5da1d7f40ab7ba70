"""The streams of one search: which candidates wait, which are being written, and what each is allowed to cost."""

from array import array
from asyncio import Task
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from hashlib import blake2b

from service.errors import EngineError
from service.search.broken_off import BrokenOff
from service.search.growth import Growth
from service.search.ledger import Account
from service.search.past import Past, Writing
from service.search.pooling import Kept, Pooling
from service.search.ports import AnswerReader, Chunk, Place, Policy, TokenLogprobs
from service.search.seeds import place_seed
from service.search.slots import Share
from service.search.steps import StepSplitter
from service.search.stream import Stream
from service.search.terms import Terms
from strategies.protocol import EndReason, Event, Path, Refused, Sample, Step

STEP_TOKENS = 128
"""The most that is reserved at once for a stream that is asked for a few steps: one that needs more asks again."""

Spawn = Callable[[Callable[[], Awaitable[None]]], Task[None]]
"""Runs a part of the search beside the others; a failure of it ends the search."""


class Streams:
    """Starts what is wanted as soon as `parallel`, the budget and the engine's slots allow.

    `tell` takes events for the strategy; `paid` is told of every request when it is over, `known` of those that earlier
    searches have paid, when their sample is taken up; `room` is called when a stream is over, or taken up, while others
    wait: one that was cancelled ends without an event; `wrote` is told of every piece.
    """

    def __init__(
        self,
        terms: Terms,
        policy: Policy,
        reader: AnswerReader,
        share: Share,
        account: Account,
        past: Past,
        pooling: Pooling,
        *,
        tell: Callable[[Event], None],
        spawn: Spawn,
        paid: Callable[[Stream], None],
        known: Callable[[Kept], None],
        room: Callable[[], None],
        wrote: Callable[[StepSplitter], None] | None = None,
    ) -> None:
        self.exhausted = False
        self._terms = terms
        self._policy = policy
        self._reader = reader
        self._share = share
        self._account = account
        self._past = past
        self._pooling = pooling
        self._tell = tell
        self._spawn = spawn
        self._paid = paid
        self._known = known
        self._room = room
        self._wrote = wrote
        self._broken_off = BrokenOff(terms)
        self._question = blake2b(array("q", terms.prompt).tobytes(), digest_size=16).digest()
        self._search = object()  # a node has its path in one search; others of the same question have theirs
        self._growths: dict[Path, Growth] = {(): Growth((), StepSplitter(terms.form), whole=terms.whole)}
        self._waiting: deque[Sample] = deque()
        self._open: dict[Path, Stream] = {}
        self._longest = 0
        self._longest_step = 0

    def steps(self, node: Path) -> tuple[list[str], int]:
        """Return the finished steps from the question to the end of `node`, and how many are its ancestors'."""
        growth = self._growths[node]
        return growth.steps, growth.inherited_steps

    def logprobs(self, node: Path) -> Sequence[TokenLogprobs]:
        """Return what was told of each token from the question to the end of `node`, where texts were asked for."""
        return self._growths[node].logprobs

    def is_growing(self, node: Path) -> bool:
        """Whether more may be written of `node`."""
        return node in self._open or any(sample.node == node for sample in self._waiting)

    def want(self, sample: Sample) -> None:
        """Take up a stream: from what an earlier run wrote of it, or from the end of its parent.

        Raises `InvalidRequest` where that run drew it from another distribution, or did not pause where it should.
        """
        certainty = self._terms.certainty() if self._terms.certainty else None
        growth = self._growths[sample.node[:-1]].fork(sample.node, certainty, sample.max_steps)
        self._growths[sample.node] = growth
        writing = self._past.writings.get(sample.node)
        if writing is None:
            self._waiting.append(sample)
        else:
            writing.check(sample)
            self._take_up(growth, sample, writing)

    def _take_up(self, growth: Growth, sample: Sample, writing: Writing) -> None:
        """Tell again what an earlier run wrote, and go on where it stopped."""
        over = writing.is_over(self._terms.max_tokens - growth.inherited_tokens)
        if writing.ended is not None and over:
            growth.token_ids.extend(writing.token_ids)
            steps = ["".join(writing.steps)] if growth.whole else writing.steps
            growth.steps.extend(steps)
            self._tell_steps(growth, steps)
            self._tell(writing.ended)
            return
        paused = writing.paused if sample.max_steps is not None else None
        if paused is None and growth.certainty is not None:
            # Log-probabilities are not kept: where they are judged, a stream that was cut off is written anew.
            self._waiting.append(sample)
            return
        growth.token_ids.extend(writing.token_ids)
        self._tell_steps(growth, growth.take(writing.text))
        if paused is not None:
            self._tell(paused)
        elif over or growth.splitter.answered or growth.is_long_enough:
            self._spawn(partial(self._rest, growth, sample, writing.finish_reason))
        else:
            self._waiting.append(sample)

    def _go_on(self, growth: Growth, sample: Sample, kept: Kept, cap: int) -> None:
        """Tell what the pool has of the first of those that wait, as if it were being written, and go on from there."""
        self._known(kept)
        for request in kept.requests:
            growth.token_ids.extend(request.token_ids)
            self._tell_steps(growth, growth.take(request.text))
        if self._wrote is not None:
            self._wrote(growth.splitter)
        stopped = kept.requests[-1].finish_reason == "stop" or growth.splitter.answered
        if stopped:
            self._longest = max(self._longest, len(growth.token_ids))
        if kept.end is not None and (stopped or len(growth.token_ids) >= self._terms.max_tokens):
            self._tell_steps(growth, growth.take_rest())
            ended = growth.ended(kept.end.reason, kept.end.answer)
            self._tell(replace(ended, certainty=kept.end.certainty))
        elif stopped or len(growth.token_ids) >= cap:
            self._spawn(partial(self._rest, growth, sample, "stop" if stopped else "length"))
        else:
            self._waiting.appendleft(sample)
        self._room()

    def start(self) -> None:
        """Start what can be started now; refuse what never can."""
        while self._waiting and (self._terms.parallel is None or len(self._open) < self._terms.parallel):
            growth = self._growths[self._waiting[0].node]
            tokens = self._affordable(growth)
            if tokens is None:
                return
            if tokens == 0:
                self._refuse_waiting()
                return
            if growth.own_tokens == 0 and (kept := self._pooling.take(self._waiting[0], tokens)) is not None:
                # One at a time: what it tells may make others pointless.
                self._go_on(growth, self._waiting.popleft(), kept, tokens)
                return
            stream = Stream(growth, self._account.reserve(tokens), written=len(growth.token_ids))
            self._open[growth.node] = stream
            stream.task = self._spawn(partial(self._grow, stream, self._waiting.popleft(), tokens))
            # A task that is cancelled before its first line never reaches its own `finally`.
            stream.task.add_done_callback(partial(self._dropped, stream))

    def cancel(self, node: Path, *, forgo: bool) -> bool:
        """Stop `node` if it is being written or waits; say whether it was."""
        stream = self._open.get(node)
        if stream is not None and stream.task is not None:
            stream.forgo = forgo
            stream.task.cancel()
            return True
        waiting = next((sample for sample in self._waiting if sample.node == node), None)
        if waiting is not None:
            self._waiting.remove(waiting)
        return waiting is not None

    def _affordable(self, growth: Growth) -> int | None:
        """The token cap the next stream can have: 0 if none can start any more, `None` if that is not decided yet.

        The last tokens go to one candidate that can be expected to finish, not to many that cannot.
        """
        wanted = max(1, self._terms.max_tokens - len(growth.token_ids))
        kept_back, useful = 0, self._longest - len(growth.token_ids)
        if growth.max_steps is not None:
            wanted = min(STEP_TOKENS, wanted)
            kept_back, useful = self._kept_back(), self._longest_step
        free = self._account.free
        if free is None or wanted <= free - kept_back:
            return wanted
        if self._open:
            return None
        left = free - kept_back
        return left if left > max(0, useful) else 0

    def _kept_back(self) -> int:
        """What single steps must leave, so that what they have begun can be written to its end.

        A quarter of the budget; of a small one up to a half, if a solution may need that.
        """
        limit = self._account.limit
        return 0 if limit is None else min(limit // 2, max(limit // 4, self._terms.max_tokens // 2))

    def _refuse_waiting(self) -> None:
        """Tell that the budget is used up; raise the `EngineError` that used it up where nothing came of it."""
        if self._broken_off.last is not None and not any(growth.steps for growth in self._growths.values()):
            raise self._broken_off.last
        self.exhausted = True
        for sample in self._waiting:
            self._tell(Refused(sample.node, "sample"))
        self._waiting.clear()

    async def _grow(self, stream: Stream, sample: Sample, max_tokens: int) -> None:
        growth = stream.growth
        try:
            async with self._share:
                await self._write(stream, self._request(stream, sample, max_tokens))
        except EngineError as error:
            stream.finish_reason = None
            if not self._broken_off.goes_on(growth, error):
                stream.disown()
                raise
        finally:
            self._over(stream)
        await self._rest(growth, sample, stream.finish_reason)

    async def _rest(self, growth: Growth, sample: Sample, reason: str | None) -> None:
        """Say what it means that a request is over: the solution's end, a pause, or neither."""
        if reason == "stop" or growth.splitter.answered:
            self._longest = max(self._longest, len(growth.token_ids))
            await self._end(growth, "stop")
        elif len(growth.token_ids) >= self._terms.max_tokens or (reason == "length" and sample.max_steps is None):
            await self._end(growth, "length")
        elif growth.is_long_enough:
            self._longest_step = max(self._longest_step, growth.own_tokens)
            self._tell(growth.paused())
        else:
            self._waiting.appendleft(sample)
            self._room()

    async def _end(self, growth: Growth, reason: EndReason) -> None:
        self._tell_steps(growth, growth.take_rest())
        cut_off = self._terms.exact and reason == "length"
        answer = None if cut_off else await self._reader.read(growth.splitter.solution)
        ended = growth.ended(reason, answer)
        self._pooling.ended(ended)
        self._tell(ended)

    def _request(self, stream: Stream, sample: Sample, max_tokens: int) -> AsyncGenerator[Chunk, None]:
        terms, written = self._terms, stream.growth.own_tokens
        stream.asked, stream.bill.exact = True, False
        return self._policy.stream(
            (*terms.prompt, *stream.growth.token_ids),
            max_tokens=max_tokens,
            sampling=terms.sampling.at(sample.temperature).after(written),
            seed=place_seed(terms.seed, sample.node, written),
            bill=stream.bill,
            eager=terms.eager,
            stop_at_step=sample.max_steps is not None,
            place=Place(self._question, (self._search, *sample.node)),
        )

    async def _write(self, stream: Stream, chunks: AsyncGenerator[Chunk, None]) -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                stream.text.append(chunk.text)
                stream.finish_reason = chunk.finish_reason
                self._tell_steps(stream.growth, stream.growth.take_chunk(chunk))
                if self._wrote is not None:
                    self._wrote(stream.growth.splitter)
                if stream.growth.splitter.answered:
                    stream.finish_reason = "stop"
                    return
                if chunk.finish_reason is None and stream.growth.is_long_enough:
                    stream.finish_reason = "step"
                    return

    def _tell_steps(self, growth: Growth, steps: list[str]) -> None:
        for index, step in enumerate(steps, len(growth.steps) - growth.inherited_steps - len(steps)):
            self._tell(Step(growth.node, index, step))

    def _dropped(self, stream: Stream, _: Task[None]) -> None:
        self._over(stream)

    def _over(self, stream: Stream) -> None:
        """Settle what a stream has cost, once."""
        if self._open.get(stream.growth.node) is not stream:
            return
        del self._open[stream.growth.node]
        stream.keep_unread()
        stream.reservation.settle(stream.bill.generated, stream.bill, forgo=stream.forgo)
        if stream.asked:
            self._paid(stream)
        if self._waiting:
            self._room()
