"""Recorded candidates, and a driver without engines that plays them to a strategy in a random order of arrival."""

import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from strategies.protocol import (
    Answer,
    Cancel,
    Cancelled,
    Candidate,
    Ended,
    EndReason,
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


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that would happen to one candidate: its steps' tokens and scores (`None`: refused), its answer, its end."""

    tokens: tuple[int, ...]
    scores: tuple[float | None, ...]
    answer: str | None
    reason: EndReason = "stop"
    certainty: float | None = None
    starts: bool = True

    def events(self, node: Path) -> Iterable[Event]:
        """Yield what its stream tells, in order."""
        text = ""
        for index in range(len(self.tokens)):
            step = f"step {index} of {node[0]}\n\n"
            text += step
            yield Step(node, index, step)
        answer = None if self.answer is None else Answer(self.answer, self.answer)
        yield Ended(node, self.reason, text, answer, self.certainty)


@dataclass(slots=True)
class Replay:
    """One search over `recorded` candidates: at most `parallel` streams, and everything takes a random time.

    What has happened before a candidate is cut may still arrive afterwards. `run` raises where a strategy asks for what
    makes no sense: a candidate twice, a score or an end of what is over, anything after its end.
    """

    strategy: Strategy
    recorded: Sequence[Recorded]
    parallel: int
    rng: random.Random
    launched: list[Path] = field(default_factory=list)
    policy_tokens: int = 0
    scored_steps: int = 0
    reason: str | None = None
    most_growing: int = 0
    _waiting: deque[Path] = field(default_factory=deque)
    _streams: dict[Path, deque[Event]] = field(default_factory=dict)
    _told: dict[Path, int] = field(default_factory=dict)
    _asked: dict[Path, int] = field(default_factory=dict)
    _scorings: list[Event] = field(default_factory=list)
    _late: list[Event] = field(default_factory=list)
    _cut: set[Path] = field(default_factory=set)

    def run(self) -> "Replay":
        """Play until the strategy finishes, and once more over what arrives too late."""
        self._apply(self.strategy.begin())
        while self.reason is None:
            self._start()
            event = self._next()
            if event.node in self._cut:
                assert self.strategy.on(event) == [], "a cut candidate's late event has consequences"
            else:
                self._apply(self.strategy.on(event))
        for event in self._late:
            assert self.strategy.on(event) == [], "something is asked for after the end"
        assert not self._waiting, "the search ended, and candidates still wait to start"
        assert not self._streams, "the search ended, and streams still grow"
        useful = [event for event in self._scorings if None not in self.recorded[event.node[0]].scores]
        assert not useful, "the search ended, and scores are still to come"
        return self

    @property
    def winner(self) -> Candidate:
        """The first of the ranking."""
        return self.strategy.ranking()[0]

    @property
    def winning_key(self) -> str | None:
        """The winner's answer."""
        answer = self.winner.answer
        return None if answer is None else answer.key

    def _start(self) -> None:
        while self._waiting and len(self._streams) < self.parallel:
            node = self._waiting.popleft()
            candidate = self.recorded[node[0]]
            self._streams[node] = deque(candidate.events(node) if candidate.starts else [Refused(node, "sample")])
        self.most_growing = max(self.most_growing, len(self._streams))

    def _next(self) -> Event:
        happening = [*self._streams, *range(len(self._scorings)), *(["late"] if self._late else [])]
        assert happening, "the strategy neither finished nor asked for anything"
        match self.rng.choice(happening):
            case int(index):
                return self._scorings.pop(index)
            case "late":
                return self._late.pop(0)
            case node:
                assert isinstance(node, tuple)
                return self._grow(node)

    def _grow(self, node: Path) -> Event:
        event = self._streams[node].popleft()
        if isinstance(event, Step):
            self.policy_tokens += self.recorded[node[0]].tokens[event.index]
            self._told[node] = event.index + 1
        if not self._streams[node]:
            del self._streams[node]
        return event

    def _apply(self, actions: Sequence[object]) -> None:
        for action in actions:
            assert self.reason is None, "something is asked for after Finish"
            match action:
                case Sample(node):
                    assert node not in self.launched, "a candidate is asked for twice"
                    self.launched.append(node)
                    self._waiting.append(node)
                case Score(node):
                    assert node not in self._cut, "a score is asked for of a candidate that was cut"
                    self._score(node)
                case Cancel(node, forgo):
                    assert forgo, "what early stopping saves is saved"
                    self._cancel(node)
                case Finish(reason):
                    self.reason = reason

    def _score(self, node: Path) -> None:
        first, last = self._asked.get(node, 0), self._told[node]
        assert first < last, "there is no step to score"
        self._asked[node] = last
        self.scored_steps += last - first
        known = [score for score in self.recorded[node[0]].scores[first:last] if score is not None]
        whole = len(known) == last - first
        self._scorings.append(Scored(node, first, tuple(known)) if whole else Refused(node, "score"))

    def _cancel(self, node: Path) -> None:
        assert node not in self._cut, "a candidate is cut twice"
        self._cut.add(node)
        scorings = [event for event in self._scorings if event.node == node]
        was_pending = node in self._waiting or node in self._streams or bool(scorings)
        assert was_pending, "what is over cannot be cut"
        self._scorings = [event for event in self._scorings if event.node != node]
        self._late += [event for event in scorings if self.rng.random() < 0.5]
        if node in self._waiting:
            self._waiting.remove(node)
        elif node in self._streams:
            on_the_way = self._streams.pop(node)
            while on_the_way and self.rng.random() < 0.5:
                self._late.append(on_the_way.popleft())
        self._late.append(Cancelled(node))
