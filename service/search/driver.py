"""The one loop that turns a strategy's wishes into engine calls."""

import asyncio
from asyncio import Task
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from service.errors import QuestionTooLong
from service.search.ledger import Account, BudgetExhausted
from service.search.memo import ScoreMemo
from service.search.past import NOTHING, Past
from service.search.pooling import Kept, Pooling
from service.search.ports import AnswerReader, Bill, Policy, Scorer, TokenLogprobs
from service.search.scoring import StepScores, charge
from service.search.slots import Slots
from service.search.stream import Stream
from service.search.streams import Streams
from service.search.tasks import Tasks
from service.search.terms import Terms
from service.search.trace import Grown, Judged, Record, Stopped, Told, Wished
from service.search.usage import Counter
from service.search.watch import Watch
from strategies.protocol import (
    Action,
    Cancel,
    Cancelled,
    Ended,
    Event,
    Finish,
    Path,
    Paused,
    Refused,
    Sample,
    Score,
    Scored,
    Strategy,
)


@dataclass(frozen=True, slots=True)
class Engines:
    """What a search runs on. The slots bound what all searches of a worker together have in flight.

    `memo` holds the scores of all of them; without one a search remembers its own.
    """

    policy: Policy
    policy_slots: Slots
    reader: AnswerReader
    scorer: Scorer | None
    reward_slots: Slots
    memo: ScoreMemo | None = None


class Driver:
    """Runs one strategy to its end, once.

    What it spends is in `counter`, and what happened in `records`, also after an error; `unscorable` has the candidates
    that are too long for the reward model's context, with what it said. On every way out each engine request has ended.
    `past` is what an earlier run has left: it is told again first, and not paid for again. `pooling` has the samples of
    others, each paid for no sooner than it is taken up. `watch` looks on; `hear` is told
    each record.
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
        pooling: Pooling | None = None,
        watch: Watch | None = None,
        hear: Callable[[Record], None] | None = None,
    ) -> None:
        self.counter = Counter(question=len(terms.prompt))
        self.records: list[Record] = []
        self.unscorable: dict[Path, QuestionTooLong] = {}
        self._strategy = strategy
        self._pooling = pooling or Pooling(None, max_tokens=terms.max_tokens, resumes=False)
        self._hears = [] if hear is None else [hear]
        if watch is not None:
            self._hears.append(watch.saw)
            watch.begin(strategy, self.counter, policy_account, reward_account)
        self._deadline = terms.deadline
        self._begun = asyncio.get_running_loop().time()
        self._inbox: asyncio.Queue[Event | Exception | None] = asyncio.Queue()  # None: more can be started
        self._tasks = Tasks()
        self._asked: dict[Path, int] = {}
        self._scorings: dict[Path, list[Task[None]]] = {}
        self._unread: set[Path] = set()
        self._whole_solutions = engines.scorer is not None and engines.scorer.reads == "solution"
        self._exhausted: str | None = None
        self._finish: str | None = None
        self._policy_account = policy_account
        self._reward_account = reward_account
        self._streams = Streams(
            terms,
            engines.policy,
            engines.reader,
            engines.policy_slots.share(),
            policy_account,
            past,
            self._pooling,
            tell=self._inbox.put_nowait,
            spawn=lambda work: self._tasks.spawn(self._report(work)),
            paid=self._grown,
            known=self._known,
            room=lambda: self._inbox.put_nowait(None),
            wrote=watch.wrote if watch is not None else None,
        )
        self._scores: StepScores | None = None
        if engines.scorer is not None:
            self._scores = StepScores(
                terms.question,
                engines.scorer,
                engines.reward_slots.share(),
                reward_account,
                self._tasks.spawn,
                self._judged,
                dict(past.scores),
                engines.memo or ScoreMemo(),
            )
        for record in past.bills:
            self._pay(record)

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
            try:
                await self._tasks.close(self._deadline)
            finally:
                self._pooling.close()
        self._note(Stopped(self._now(), reason))
        return reason

    async def _loop(self) -> str:
        self._apply(self._strategy.begin())
        while self._finish is None:
            if self._inbox.empty():
                # Only now: nothing is started that what has already happened makes pointless.
                self._streams.start()
                if self._tasks.none and self._inbox.empty():
                    raise RuntimeError(f"{type(self._strategy).__name__} neither finished nor asked for anything")
            event = await self._inbox.get()
            if event is None:
                continue
            if isinstance(event, Exception):
                raise event
            self._note(Told(self._now(), event))
            self._apply(self._strategy.on(event))
            if isinstance(event, Ended | Paused) and event.node in self._unread:
                self._score(event.node)
        exhausted = self._policy_account.name if self._streams.exhausted else self._exhausted
        return exhausted or self._finish

    def _apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self._note(Wished(self._now(), action))
            match action:
                case Sample():
                    self._streams.want(action)
                case Score(node):
                    self._score(node)
                case Cancel(node, forgo):
                    self._cancel(node, forgo)
                case Finish(reason):
                    self._finish = reason

    def logprobs(self, node: Path) -> Sequence[TokenLogprobs]:
        """Return what was told of each token of the solution that ends at `node`, where texts were asked for."""
        return self._streams.logprobs(node)

    def _score(self, node: Path) -> None:
        if self._scores is None:
            raise RuntimeError("a strategy asked for scores in a search without a reward model")
        steps, inherited = self._streams.steps(node)
        first = self._asked.get(node, inherited)
        if first == len(steps):
            return
        if self._whole_solutions and self._streams.is_growing(node):
            # To read all steps costs no more than to read the last one: once, when all are there.
            self._unread.add(node)
            return
        self._unread.discard(node)
        self._asked[node] = len(steps)
        known = self._scores.remembered(steps, first)
        if known is not None:
            self._inbox.put_nowait(Scored(node, first - inherited, known))
            return
        work = partial(self._score_steps, self._scores, node, tuple(steps), first, inherited)
        self._scorings.setdefault(node, []).append(self._tasks.spawn(self._report(work)))

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
        self._unread.discard(node)
        for task in self._scorings.pop(node, []):
            task.cancel()
        if self._streams.cancel(node, forgo=forgo):
            self._inbox.put_nowait(Cancelled(node))

    def _note(self, record: Record) -> None:
        self.records.append(record)
        for hear in self._hears:
            hear(record)

    # --- bills ---

    def _grown(self, stream: Stream) -> None:
        text, node = "".join(stream.text), stream.growth.node
        record = Grown(self._now(), node, text, stream.token_ids, stream.finish_reason, stream.bill)
        self.counter.grown(node, stream.bill)
        self._note(record)
        self._pooling.grew(record)

    def _judged(self, bill: Bill, remembered: int) -> None:
        self.counter.judged(bill, remembered)
        self._note(Judged(self._now(), bill, remembered=remembered))

    def _known(self, sample: Kept) -> None:
        for request in sample.requests:
            self._pay(replace(request, at=self._now()))

    def _pay(self, record: Grown | Judged) -> None:
        """Take over what an earlier run has paid."""
        self._note(record)
        match record:
            case Grown(_, node, bill=bill):
                self.counter.grown(node, bill)
                self._policy_account.spent += bill.generated
            case Judged(_, bill, remembered=remembered):
                self.counter.judged(bill, remembered)
                if self._scores is not None:
                    self._reward_account.spent += charge(bill, self._scores.scorer.reads)

    # --- tasks ---

    async def _report(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, and put its failure where the loop reads it: every failure ends the search."""
        try:
            await work()
        except Exception as error:
            self._inbox.put_nowait(error)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._begun
