"""A scripted world for trees: what the policy writes where, what the scorer says of it, and who is heard first."""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from strategies.protocol import (
    Action,
    Answer,
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
    Step,
    Strategy,
)


@dataclass(frozen=True, slots=True)
class Written:
    """What the policy writes as the next step at a place: with an `answer` it is the solution's last step."""

    text: str
    score: float
    answer: str | None = None
    certainty: float = -1.0


World = Callable[[Path, str], Written]
"""Says what is written at a place, after the text that its ancestors wrote."""


def table(steps: Mapping[Path, Written]) -> World:
    """Return the world in which each place has its own step."""
    return lambda path, before: steps[path]


def random_world(seed: int, *, depth: int = 4, texts: int = 3, answers: int = 3) -> World:
    """Return a world with few different steps, so that siblings repeat each other, and ends at depths up to `depth`.

    What a text is worth depends on the text before it, not on its place: equal solutions have equal scores.
    """

    def write(path: Path, before: str) -> Written:
        level = before.count("\n")
        step = random.Random(f"{seed}{path}").randrange(texts)
        rng = random.Random(f"{seed}{before}{step}")
        over = level + 1 >= depth or rng.random() < 0.2
        answer = str(rng.randrange(answers)) if over else None
        text = f"{level}:{step} = {answer}\n" if over else f"{level}:{step}\n"
        return Written(text, rng.random(), answer, -3 * rng.random())

    return write


@dataclass
class Played:
    """What a strategy asked for and was told, in order; `open` are samples without an end so far."""

    strategy: Strategy
    actions: list[Action] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    finished: str | None = None

    @property
    def samples(self) -> list[Path]:
        """The places that were asked for, in order."""
        return [action.node for action in self.actions if isinstance(action, Sample)]

    @property
    def cancelled(self) -> list[Path]:
        """The places that were given up, in order."""
        return [action.node for action in self.actions if isinstance(action, Cancel)]


def play(
    strategy: Strategy,
    world: World,
    *,
    rng: random.Random | None = None,
    most_samples: int | None = None,
    most_scores: int | None = None,
    most_events: int = 100_000,
) -> Played:
    """Play a search to its end. What is under way arrives in the order in which it was asked for, or as `rng` has it.

    From sample number `most_samples` on, streams of bounded length are refused; scores from number `most_scores` on.
    Raises `AssertionError` where the strategy breaks the protocol: it asks for a place twice, grows from what is not
    paused, scores what is not written, or neither finishes nor has anything pending.
    """
    return _Game(strategy, world, rng, most_samples, most_scores).run(most_events)


@dataclass
class _Game:
    strategy: Strategy
    world: World
    rng: random.Random | None
    most_samples: int | None
    most_scores: int | None
    texts: dict[Path, str] = field(default_factory=lambda: {(): ""})
    scores: dict[Path, list[float]] = field(default_factory=dict)
    scored: dict[Path, int] = field(default_factory=dict)
    growable: set[Path] = field(default_factory=lambda: {()})
    queues: dict[tuple[Literal["stream", "score"], Path], deque[Event]] = field(default_factory=dict)
    samples: int = 0
    asked: int = 0

    def run(self, most_events: int) -> Played:
        played = Played(self.strategy)
        self._take(self.strategy.begin(), played)
        while played.finished is None and len(played.events) < most_events:
            assert self.queues, "the strategy neither finished nor waits for anything"
            keys = list(self.queues)
            key = keys[0] if self.rng is None else self.rng.choice(keys)
            event = self.queues[key].popleft()
            if not self.queues[key]:
                del self.queues[key]
            if isinstance(event, Paused):
                self.growable.add(event.node)
            played.events.append(event)
            self._take(self.strategy.on(event), played)
        return played

    def _take(self, actions: Sequence[Action], played: Played) -> None:
        for action in actions:
            assert played.finished is None, f"{action} after the end"
            played.actions.append(action)
            match action:
                case Sample():
                    self._sample(action)
                case Score(node):
                    self._score(node)
                case Cancel(node):
                    self.queues.pop(("score", node), None)
                    if self.queues.pop(("stream", node), None) is not None:
                        self.queues[("stream", node)] = deque([Cancelled(node)])
                case Finish(reason):
                    played.finished = reason

    def _sample(self, sample: Sample) -> None:
        node = sample.node
        assert node not in self.texts, f"{node} is asked for twice"
        assert node[:-1] in self.growable, f"{node} grows from what is not paused"
        self.samples += 1
        bounded = sample.max_steps is not None
        if bounded and self.most_samples is not None and self.samples > self.most_samples:
            self.texts[node] = self.texts[node[:-1]]
            self.queues[("stream", node)] = deque([Refused(node, "sample")])
            return
        self.queues[("stream", node)] = deque(self._written(sample))

    def _written(self, sample: Sample) -> list[Event]:
        node, text, events = sample.node, self.texts[sample.node[:-1]], list[Event]()
        self.scores[node], certainties = [], []
        while sample.max_steps is None or len(self.scores[node]) < sample.max_steps:
            # A place below the last one stands for what a stream of several steps writes on.
            step = self.world((*node, *(0 for _ in self.scores[node])), text)
            events.append(Step(node, len(self.scores[node]), step.text))
            text += step.text
            self.scores[node].append(step.score)
            certainties.append(step.certainty)
            self.texts[node] = text
            if step.answer is not None:
                mean = sum(certainties) / len(certainties)
                return [*events, Ended(node, "stop", text, Answer(step.answer, step.answer), mean)]
        return [*events, Paused(node, sum(certainties) / len(certainties))]

    def _score(self, node: Path) -> None:
        told = [event for event in self.queues.get(("stream", node), ()) if isinstance(event, Step)]
        written, first = len(self.scores[node]) - len(told), self.scored.get(node, 0)
        assert written > first, f"{node} has no step without a score"
        self.asked += 1
        self.scored[node] = written
        refused = self.most_scores is not None and self.asked > self.most_scores
        answer = Refused(node, "score") if refused else Scored(node, first, tuple(self.scores[node][first:written]))
        self.queues.setdefault(("score", node), deque()).append(answer)
