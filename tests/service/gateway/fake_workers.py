"""Workers without engines: they answer at once with a result that depends on the request alone."""

import asyncio
from collections.abc import AsyncGenerator

from reward_models.protocol import Reads
from service.errors import MullError
from service.search.progress import Interest, Progress
from service.search.request import (
    CandidateResult,
    PolicyUsage,
    RewardUsage,
    SearchRequest,
    SearchResult,
    SearchUsage,
    VoteResult,
)
from service.search.score_request import ScoreRequest, ScoreResult, SolutionScores
from service.settings import Settings


def settings(**changes: object) -> Settings:
    """Two models, `tiny` with a reward model and `bare` without, no Redis, and no keys whoever runs the tests has."""
    base: dict[str, object] = {
        "policies": {"p": {"model": "some/policy", "price": {"input": 1, "output": 2}}},
        "reward_models": {"r": {"model": "some/prm", "price": {"input": 0.5, "output": 0}}},
        "models": {"tiny": {"policy": "p", "reward": "r"}, "bare": {"policy": "p"}},
        "redis": {"enabled": False},
        "state_dir": "no-such-folder",
        "limits": {"samples": 64, "question_chars": 1000},
    }
    return Settings.model_validate(base | changes)


def result(request: SearchRequest, stopped_by: str = "completed") -> SearchResult:
    """Every candidate of 10 tokens, with an answer of its own; the prompt has 5 tokens."""
    count = request.strategy.candidates
    candidates = tuple(
        CandidateResult(
            text=f"So it is \\boxed{{{i}}}",
            answer=str(i),
            key=str(i),
            scores=(0.5,),
            score=0.5,
            finished=True,
            finish_reason="stop",
            tokens=10,
            multiplicity=1,
        )
        for i in range(count)
    )
    kept = min(request.n, count)
    usage = SearchUsage(
        prompt=5,
        policy=PolicyUsage(
            kept=10 * kept, discarded=10 * (count - kept), prompt=5 * count, cached=4 * count, estimated=False
        ),
        reward=RewardUsage(submitted=20 * count, cached=None, generated=count, estimated=False)
        if request.strategy.needs_scores
        else RewardUsage(submitted=0, cached=0, generated=0, estimated=False),
    )
    votes = tuple(
        VoteResult(answer=c.answer or "", key=c.key or "", weight=1, share=1 / count, candidates=1) for c in candidates
    )
    return SearchResult(
        choices=candidates[:kept],
        candidates=candidates,
        votes=votes,
        confidence=1 / count,
        stopped_by=stopped_by,
        usage=usage,
        seconds=0.01,
    )


def scores(request: ScoreRequest, reads: Reads = "step") -> ScoreResult:
    """Every step has 20 tokens and the score 0.5; a text is cut at empty lines."""
    given = request.steps or tuple(tuple(text.split("\n\n")) for text in request.solutions or ())
    solutions = tuple(SolutionScores(steps=steps, scores=(0.5,) * len(steps)) for steps in given)
    count = sum(len(solution.steps) for solution in solutions)
    usage = RewardUsage(submitted=20 * count, cached=5 * count, generated=count, estimated=False)
    return ScoreResult(solutions=solutions, reads=reads, usage=usage, seconds=0.01)


class FakeWorkers:
    """Notes what is asked. `error` is raised if set; `hold` makes a call wait until it is cancelled.

    Who watches a search is told what is in `told` before that.
    """

    def __init__(self) -> None:
        self.requests: list[SearchRequest] = []
        self.interests: list[Interest] = []
        self.told: list[Progress] = []
        self.scorings: list[ScoreRequest] = []
        self.reads: Reads = "step"
        self.asked = asyncio.Event()
        self.deadlines: list[float] = []
        self.error: Exception | None = None
        self.hold = False
        self.cancelled = 0
        self.stopped_by = "completed"
        self.problems: list[MullError] = []
        self.ready_error: MullError | None = None
        self.asked_ready = 0

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Answer, fail or wait."""
        self.requests.append(request)
        await self._asked(deadline_s)
        return result(request, self.stopped_by)

    async def watch(
        self, request: SearchRequest, deadline_s: float, interest: Interest
    ) -> AsyncGenerator[Progress | SearchResult, None]:
        """Tell, then answer, fail or wait."""
        self.interests.append(interest)
        for progress in self.told:
            yield progress
        yield await self.search(request, deadline_s)

    async def score(self, request: ScoreRequest, deadline_s: float) -> ScoreResult:
        """Answer, fail or wait."""
        self.scorings.append(request)
        await self._asked(deadline_s)
        return scores(request, self.reads)

    async def ready(self) -> list[MullError]:
        """Say what `problems` says."""
        self.asked_ready += 1
        if self.ready_error is not None:
            raise self.ready_error
        return self.problems

    async def contexts(self) -> dict[str, int]:
        """Say that there is one policy; fail or wait as `ready` would."""
        if self.ready_error is not None:
            raise self.ready_error
        if self.hold:
            await asyncio.Event().wait()
        return {"p": 4096}

    async def _asked(self, deadline_s: float) -> None:
        self.asked.set()
        self.deadlines.append(deadline_s)
        if self.error is not None:
            raise self.error
        if self.hold:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
