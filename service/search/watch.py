"""Looking on at a search without holding it up: what is not fetched in time is made short, never piled up."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import TypeVar

from service.search.ledger import Account
from service.search.progress import (
    BestSoFar,
    CandidateEnded,
    Committed,
    Interest,
    Progress,
    Pruned,
    SearchEvent,
    Spent,
    Standing,
    StepsScored,
    StepWritten,
    Tokens,
    Voted,
)
from service.search.request import VoteResult
from service.search.result import vote_result
from service.search.steps import StepSplitter
from service.search.trace import Record, Told, Wished
from service.search.usage import Counter
from strategies.protocol import Answer, Cancel, Ended, Path, Sample, Scored, Step, Strategy

MOST_UNREAD = 1000
"""Single events that are kept for a reader; of more the oldest are dropped."""
VOTES = 5
"""Most answers that an event of votes lists."""
TEXT_PACE_S, COMMITTED_PACE_S, PACE_S = 0.03, 0.1, 0.2
"""Shortest time between two deliveries, of text, of what is committed, and of anything else.

Each costs both processes some work.
"""

T = TypeVar("T")


class Watch:
    """Collects what an `interest` asks for. A search calls `begin`, `saw` and `wrote`; its reader calls `deliveries`.

    The strategy is asked for votes and its best candidate only when the reader fetches them, so what they cost does not
    depend on how much happens.
    """

    def __init__(self, interest: Interest) -> None:
        self.interest = interest
        self._news = asyncio.Event()
        self._strategy: Strategy | None = None
        self._counter = Counter(question=0)
        self._at = 0.0
        self._begun = self._steps = self._ended = 0
        self._numbered = 0
        self._events: deque[SearchEvent] = deque(maxlen=MOST_UNREAD)
        self._votes: tuple[VoteResult, ...] = ()
        self._leader: tuple[Path, Answer | None, float | None] | None = None
        self._spent = (0, 0)
        self._accounts: tuple[Account, Account] | None = None
        self._committed = Committed()
        self._splitter: StepSplitter | None = None
        self._told_text = 0

    # --- the search's side ---

    def begin(self, strategy: Strategy, counter: Counter, policy: Account, reward: Account) -> None:
        """Take what can be asked where the search stands."""
        self._strategy, self._counter = strategy, counter
        if self.interest.committed:
            self._accounts = policy, reward
            policy.changed = reward.changed = self._news.set

    def saw(self, record: Record) -> None:
        """Take a record of the trace in."""
        match record:
            case Wished(action=Sample()):
                self._begun += 1
            case Wished(at, Cancel(node)):
                self._at = at
                if self.interest.events:
                    self._events.append(Pruned(**self._number(), node=node))
            case Told(at, event):
                self._at = at
                self._steps += isinstance(event, Step)
                self._ended += isinstance(event, Ended)
                if self.interest.events:
                    self._keep(event)
                if self.interest.events or self.interest.standing:
                    self._news.set()

    def wrote(self, splitter: StepSplitter) -> None:
        """Note that more of a candidate has been written."""
        if self.interest.text:
            self._splitter = splitter
            self._news.set()

    def _keep(self, event: object) -> None:
        match event:
            case Step(node, index, text):
                self._events.append(StepWritten(**self._number(), node=node, index=index, text=text))
            case Scored(node, first, scores):
                self._events.append(StepsScored(**self._number(), node=node, first=first, scores=scores))
            case Ended(node, reason, answer=answer):
                read = answer.text if answer is not None else None
                self._events.append(CandidateEnded(**self._number(), node=node, finish_reason=reason, answer=read))

    def _number(self) -> dict[str, int | float]:
        self._numbered += 1
        return {"sequence_number": self._numbered - 1, "at": round(self._at, 4)}

    # --- the reader's side ---

    async def deliveries(self, search: asyncio.Task[T]) -> AsyncGenerator[Progress, None]:
        """Return what is new, again and again, until `search` is over; the last of it included.

        Does not raise what the search raises. The search goes on when this is closed.
        """
        search.add_done_callback(lambda _: self._news.set())
        pace = TEXT_PACE_S if self.interest.text else COMMITTED_PACE_S if self.interest.committed else PACE_S
        over = False
        while not over:
            await self._news.wait()
            over = search.done()
            if (progress := self._take()) != Progress():
                yield progress
            await asyncio.wait({search}, timeout=pace)

    def _take(self) -> Progress:
        self._news.clear()
        standing = self._standing() if self.interest.standing else None
        return Progress(
            text=self._new_text(), standing=standing, events=self._new_events(), committed=self._newly_committed()
        )

    def _newly_committed(self) -> Committed | None:
        if self._accounts is None:
            return None
        policy, reward = (Tokens(spent=account.spent, reserved=account.reserved) for account in self._accounts)
        now = Committed(policy=policy, reward=reward)
        if now == self._committed:
            return None
        self._committed = now
        return now

    def _new_text(self) -> str:
        if self._splitter is None:
            return ""
        text = self._splitter.settled
        new, self._told_text = text[self._told_text :], len(text)
        return new

    def _standing(self) -> Standing | None:
        if self._strategy is None or not self._steps + self._ended:
            return None
        best = next(iter(self._strategy.ranking()), None)
        answer = best.answer if best is not None else None
        votes = self._strategy.votes() if answer is not None else ()
        given = next((vote.candidates for vote in votes if answer is not None and vote.answer.key == answer.key), None)
        return Standing(
            begun=self._begun,
            steps=self._steps,
            ended=self._ended,
            answer=answer.text if answer is not None else None,
            votes=given,
        )

    def _new_events(self) -> tuple[SearchEvent, ...]:
        if not self.interest.events or self._strategy is None:
            return ()
        events = list(self._events)
        self._events.clear()
        votes = tuple(vote_result(vote) for vote in self._strategy.votes()[:VOTES])
        if votes != self._votes:
            self._votes = votes
            events.append(Voted(**self._number(), votes=votes))
        best = next(iter(self._strategy.ranking()), None)
        if best is not None and (leader := (best.node, best.answer, best.score)) != self._leader:
            self._leader = leader
            answer = best.answer.text if best.answer is not None else None
            events.append(BestSoFar(**self._number(), node=best.node, answer=answer, score=best.score))
        spent = (sum(self._counter.generated.values()), self._counter.reward_submitted)
        if spent != self._spent:
            self._spent = spent
            events.append(Spent(**self._number(), policy_tokens=spent[0], reward_tokens=spent[1]))
        return tuple(events)
