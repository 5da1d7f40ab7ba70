"""The one loop that turns a strategy's wishes into engine calls: it owns every await of a search."""

import asyncio
from asyncio import Task
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, cast

from service.errors import QuestionTooLong
from service.search.ledger import Account, BudgetExhausted, Reservation
from service.search.ports import AnswerReader, Policy, Sampling, Scorer
from service.search.scoring import StepScores
from service.search.seeds import place_seed
from service.search.steps import StepSplitter
from service.search.usage import Counter, add_known
from strategies.protocol import (
    Action,
    Cancel,
    Cancelled,
    Ended,
    Event,
    Finish,
    Path,
    Refused,
    Sample,
    Score,
    Scored,
    Step,
    Strategy,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Engines:
    """What a search runs on. The slots bound what all searches of a worker together have in flight."""

    policy: Policy
    policy_slots: asyncio.Semaphore
    reader: AnswerReader
    scorer: Scorer | None
    reward_slots: asyncio.Semaphore


@dataclass(frozen=True, slots=True)
class Terms:
    """One search: its question, how it is sampled, and its limits. `deadline` is on the event loop's clock."""

    prompt: tuple[int, ...]
    question: str
    separator: str
    sampling: Sampling
    seed: int
    max_tokens: int
    parallel: int | None
    deadline: float


class Driver:
    """Runs one strategy to its end, once.

    What it spends is in `counter`, also after an error; `unscorable` has the candidates that are too long for the
    reward model's context, with what it said. On every way out, each request it made has been closed.
    """

    def __init__(
        self,
        strategy: Strategy,
        terms: Terms,
        engines: Engines,
        *,
        policy_account: Account,
        reward_account: Account,
    ) -> None:
        self.counter = Counter(question=len(terms.prompt))
        self.unscorable: dict[Path, QuestionTooLong] = {}
        self._strategy = strategy
        self._terms = terms
        self._engines = engines
        self._account = policy_account
        self._inbox: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self._tasks: set[Task[Any]] = set()
        self._waiting: deque[Sample] = deque()
        self._streams: dict[Path, tuple[Task[None], Reservation]] = {}
        self._scorings: dict[Path, list[Task[None]]] = {}
        self._steps: dict[Path, list[str]] = {}
        self._asked: dict[Path, int] = {}
        self._longest = 0
        self._limit: str | None = None
        self._finish: str | None = None
        self._scores: StepScores | None = None
        if engines.scorer is not None:
            self._scores = StepScores(
                terms.question,
                engines.scorer,
                engines.reward_slots,
                reward_account,
                self.counter,
                self._spawn,
            )

    async def run(self) -> str:
        """Search until the strategy finishes, and return why it stopped.

        Returns the strategy's own reason ("completed"), the name of the budget that ran out on the way
        ("policy_tokens", "reward_tokens"), or "deadline". Raises what an engine raised (`EngineError`).
        """
        try:
            async with asyncio.timeout_at(self._terms.deadline) as deadline:
                return await self._loop()
        except TimeoutError:
            if not deadline.expired():
                raise
            return "deadline"
        finally:
            await self._close()

    async def _loop(self) -> str:
        self._apply(self._strategy.begin())
        self._start_waiting()
        while self._finish is None:
            if not self._tasks and self._inbox.empty():
                raise RuntimeError(f"{type(self._strategy).__name__} neither finished nor asked for anything")
            event = await self._inbox.get()
            if isinstance(event, Exception):
                raise event
            self._apply(self._strategy.on(event))
            self._start_waiting()
        return self._limit or self._finish

    def _apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Sample():
                    self._waiting.append(action)
                case Score(node):
                    self._score(node)
                case Cancel(node):
                    self._cancel(node)
                case Finish(reason):
                    self._finish = reason

    # --- streams ---

    def _start_waiting(self) -> None:
        """Start as many of the wanted streams as `parallel` and the budget allow."""
        while self._waiting and (self._terms.parallel is None or len(self._streams) < self._terms.parallel):
            tokens = self._affordable()
            if tokens is None:
                return
            if tokens == 0:
                self._give_up_waiting()
                return
            sample = self._waiting.popleft()
            reservation = self._account.reserve(tokens, "policy_tokens")
            task = self._spawn(self._report(partial(self._grow, sample, tokens, reservation)))
            self._streams[sample.node] = task, reservation

    def _affordable(self) -> int | None:
        """The token cap the next stream can have: 0 if none can start any more, `None` if that is not decided yet.

        The last tokens go to one candidate that can be expected to finish, not to many that cannot.
        """
        if self._account.fits(self._terms.max_tokens):
            return self._terms.max_tokens
        if self._streams:
            return None
        free = self._account.free or 0
        return free if free > self._longest else 0

    def _give_up_waiting(self) -> None:
        self._limit = self._limit or "policy_tokens"
        for sample in self._waiting:
            self._inbox.put_nowait(Refused(sample.node, "sample"))
        self._waiting.clear()

    async def _grow(self, sample: Sample, max_tokens: int, reservation: Reservation) -> None:
        node, terms, counter = sample.node, self._terms, self.counter
        sampling = terms.sampling.at(sample.temperature)
        splitter = StepSplitter(terms.separator)
        text: list[str] = []
        finish_reason: str | None = None
        async with self._engines.policy_slots:
            counter.start(node, len(terms.prompt))
            stream = self._engines.policy.stream(
                terms.prompt, max_tokens=max_tokens, sampling=sampling, seed=place_seed(terms.seed, node)
            )
            try:
                async with aclosing(stream):
                    async for chunk in stream:
                        reservation.spend(len(chunk.token_ids))
                        counter.generated[node] += len(chunk.token_ids)
                        text.append(chunk.text)
                        for step in splitter.feed(chunk.text):
                            self._tell_step(node, step)
                        if chunk.finish_reason is not None:
                            finish_reason = chunk.finish_reason
                            counter.cached = add_known(counter.cached, chunk.cached_tokens)
            finally:
                if finish_reason is None:
                    counter.cut_off = True
                self._stream_over(node)
        if last := splitter.rest():
            self._tell_step(node, last)
        if finish_reason == "stop":
            self._longest = max(self._longest, counter.generated[node])
        solution = "".join(text)
        answer = await self._engines.reader.read(solution)
        reason = cast("Literal['stop', 'length']", finish_reason)
        self._inbox.put_nowait(Ended(node, reason, solution, answer))

    def _tell_step(self, node: Path, step: str) -> None:
        steps = self._steps.setdefault(node, [])
        steps.append(step)
        self._inbox.put_nowait(Step(node, len(steps) - 1, step))

    def _stream_over(self, node: Path) -> None:
        if node in self._streams:
            _, reservation = self._streams.pop(node)
            reservation.release()

    # --- scores ---

    def _score(self, node: Path) -> None:
        steps, first = self._steps[node], self._asked.get(node, 0)
        if first == len(steps):
            return
        self._asked[node] = len(steps)
        task = self._spawn(self._report(partial(self._score_steps, node, tuple(steps), first)))
        self._scorings.setdefault(node, []).append(task)

    async def _score_steps(self, node: Path, steps: tuple[str, ...], first: int) -> None:
        if self._scores is None:
            raise RuntimeError("a strategy asked for scores in a search without a reward model")
        try:
            scores = await self._scores.of(steps, first)
        except BudgetExhausted as exhausted:
            self._limit = self._limit or exhausted.limit
            self._inbox.put_nowait(Refused(node, "score"))
        except QuestionTooLong as overflow:
            self.unscorable[node] = overflow
            self._inbox.put_nowait(Refused(node, "score"))
        else:
            self._inbox.put_nowait(Scored(node, first, scores))

    # --- ends ---

    def _cancel(self, node: Path) -> None:
        for task in self._scorings.pop(node, []):
            task.cancel()
        waiting = next((sample for sample in self._waiting if sample.node == node), None)
        if waiting is not None:
            self._waiting.remove(waiting)
        elif node in self._streams:
            self._streams[node][0].cancel()
            self._stream_over(node)
        else:
            return
        self._inbox.put_nowait(Cancelled(node))

    async def _report(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, and put its failure where the loop reads it: every failure ends the search."""
        try:
            await work()
        except Exception as error:
            self._inbox.put_nowait(error)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
