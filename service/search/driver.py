"""The one loop that turns a strategy's wishes into engine calls."""

import asyncio
from asyncio import Task
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from service.errors import QuestionTooLong
from service.search.ledger import Account, BudgetExhausted
from service.search.past import NOTHING, Past
from service.search.ports import AnswerReader, Bill, Policy, Scorer
from service.search.scoring import StepScores
from service.search.slots import Slots
from service.search.streams import Stream, Streams
from service.search.terms import Terms
from service.search.trace import Grown, Judged, Record, Stopped, Told, Wished
from service.search.usage import Counter
from strategies.protocol import (
    Action,
    Cancel,
    Cancelled,
    Event,
    Finish,
    Path,
    Refused,
    Sample,
    Score,
    Scored,
    Strategy,
)

T = TypeVar("T")
BILLING_S = 0.7
"""How long after its deadline a search waits for bills at most; a gateway gives its worker 1 s."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What a search runs on. The slots bound what all searches of a worker together have in flight."""

    policy: Policy
    policy_slots: Slots
    reader: AnswerReader
    scorer: Scorer | None
    reward_slots: Slots


class Driver:
    """Runs one strategy to its end, once.

    What it spends is in `counter`, and what happened in `records`, also after an error; `unscorable` has the candidates
    that are too long for the reward model's context, with what it said. On every way out each engine request has ended.
    `past` is what an earlier run has left: it is told again first, and not paid for again.
    """

    def __init__(
        self,
        strategy: Strategy,
        terms: Terms,
        engines: Engines,
        *,
        policy_account: Account,
        reward_account: Account,
        past: Past = NOTHING,
    ) -> None:
        self.counter = Counter(question=len(terms.prompt))
        self.records: list[Record] = []
        self.unscorable: dict[Path, QuestionTooLong] = {}
        self._strategy = strategy
        self._deadline = terms.deadline
        self._begun = asyncio.get_running_loop().time()
        self._inbox: asyncio.Queue[Event | Exception | None] = asyncio.Queue()  # None: more can be started
        self._tasks: set[Task[Any]] = set()
        self._asked: dict[Path, int] = {}
        self._scorings: dict[Path, list[Task[None]]] = {}
        self._exhausted: str | None = None
        self._finish: str | None = None
        self._policy_account = policy_account
        self._reward_account = reward_account
        for record in past.bills:
            self._pay(record)
        self._streams = Streams(
            terms,
            engines.policy,
            engines.reader,
            engines.policy_slots.share(),
            policy_account,
            past,
            tell=self._inbox.put_nowait,
            spawn=lambda work: self._spawn(self._report(work)),
            paid=self._grown,
            room=lambda: self._inbox.put_nowait(None),
        )
        self._scores: StepScores | None = None
        if engines.scorer is not None:
            self._scores = StepScores(
                terms.question,
                engines.scorer,
                engines.reward_slots.share(),
                reward_account,
                self._spawn,
                self._judged,
                dict(past.scores),
            )

    async def run(self) -> str:
        """Search until the strategy finishes, and return why it stopped.

        Returns the strategy's own reason ("completed", "decided"), the name of the budget that ran out on the way
        ("policy_tokens", "reward_tokens"), or "deadline". Raises what an engine raised (`EngineError`).
        """
        try:
            async with asyncio.timeout_at(self._deadline) as deadline:
                reason = await self._loop()
        except TimeoutError:
            if not deadline.expired():
                raise
            reason = "deadline"
        finally:
            await self._close()
        self.records.append(Stopped(self._now(), reason))
        return reason

    async def _loop(self) -> str:
        self._apply(self._strategy.begin())
        while self._finish is None:
            if self._inbox.empty():
                # Only now: nothing is started that what has already happened makes pointless.
                self._streams.start()
                if not self._tasks and self._inbox.empty():
                    raise RuntimeError(f"{type(self._strategy).__name__} neither finished nor asked for anything")
            event = await self._inbox.get()
            if event is None:
                continue
            if isinstance(event, Exception):
                raise event
            self.records.append(Told(self._now(), event))
            self._apply(self._strategy.on(event))
        exhausted = self._policy_account.name if self._streams.exhausted else self._exhausted
        return exhausted or self._finish

    def _apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self.records.append(Wished(self._now(), action))
            match action:
                case Sample():
                    self._streams.want(action)
                case Score(node):
                    self._score(node)
                case Cancel(node, forgo):
                    self._cancel(node, forgo)
                case Finish(reason):
                    self._finish = reason

    def _score(self, node: Path) -> None:
        if self._scores is None:
            raise RuntimeError("a strategy asked for scores in a search without a reward model")
        steps, inherited = self._streams.steps(node)
        first = self._asked.get(node, inherited)
        if first == len(steps):
            return
        self._asked[node] = len(steps)
        known = self._scores.remembered(steps, first)
        if known is not None:
            self._inbox.put_nowait(Scored(node, first - inherited, known))
            return
        work = partial(self._score_steps, self._scores, node, tuple(steps), first, inherited)
        self._scorings.setdefault(node, []).append(self._spawn(self._report(work)))

    async def _score_steps(
        self, scores: StepScores, node: Path, steps: tuple[str, ...], first: int, inherited: int
    ) -> None:
        try:
            values = await scores.of(steps, first)
        except BudgetExhausted as exhausted:
            self._exhausted = exhausted.limit
            self._inbox.put_nowait(Refused(node, "score"))
        except QuestionTooLong as overflow:
            self.unscorable[node] = overflow
            self._inbox.put_nowait(Refused(node, "score", "length"))
        else:
            self._inbox.put_nowait(Scored(node, first - inherited, values))

    def _cancel(self, node: Path, forgo: bool) -> None:
        for task in self._scorings.pop(node, []):
            task.cancel()
        if self._streams.cancel(node, forgo=forgo):
            self._inbox.put_nowait(Cancelled(node))

    # --- bills ---

    def _grown(self, stream: Stream) -> None:
        text, node = "".join(stream.text), stream.growth.node
        record = Grown(self._now(), node, text, stream.token_ids, stream.finish_reason, stream.bill)
        self.counter.grown(node, stream.bill)
        self.records.append(record)

    def _judged(self, bill: Bill) -> None:
        self.counter.judged(bill)
        self.records.append(Judged(self._now(), bill))

    def _pay(self, record: Grown | Judged) -> None:
        """Take over what an earlier run has paid."""
        self.records.append(record)
        match record:
            case Grown(_, node, bill=bill):
                self.counter.grown(node, bill)
                self._policy_account.spent += bill.generated
            case Judged(_, bill):
                self.counter.judged(bill)
                self._reward_account.spent += bill.prompt

    # --- tasks ---

    async def _report(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, and put its failure where the loop reads it: every failure ends the search."""
        try:
            await work()
        except Exception as error:
            self._inbox.put_nowait(error)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it raises it; asyncio need not log it again

    async def _close(self) -> None:
        """Cancel what is left, all at once, and wait until the engines have said what it has cost.

        The answer is not held up for that much beyond the deadline: being cancelled again, a request is closed at once.
        """
        tasks = list(self._tasks)
        for task in tasks:
            if not task.cancelling():  # what was cancelled before is being billed already
                task.cancel()
        try:
            if tasks:
                left = self._deadline - asyncio.get_running_loop().time()
                await asyncio.wait(tasks, timeout=max(0.0, left) + BILLING_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._begun
