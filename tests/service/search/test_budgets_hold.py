"""No limit is passed by one token: random budgets and strategies against an engine that does its worst."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from every_strategy import EVERY
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import solve

from service.errors import NoAnswer
from service.search.ports import Bill, Chunk
from service.search.scripted import SeededPolicy, SeededScorer


@dataclass
class Adversary(SeededPolicy):
    """Answers in pieces of any size at any time; goes on for as long as it may when it is told to stop.

    Sometimes it does not say what that has cost. `worst` is what each request has really cost.
    """

    rng: random.Random = field(default_factory=random.Random)
    worst: list[int] = field(default_factory=list)

    async def stream(
        self, prompt: tuple[int, ...], *, max_tokens: int, bill: Bill, **how: Any
    ) -> AsyncGenerator[Chunk, None]:
        inner, held, place, ended = Bill(), list[Chunk](), len(self.worst), False
        self.worst.append(max_tokens)
        try:
            async with aclosing(super().stream(prompt, max_tokens=max_tokens, bill=inner, **how)) as chunks:
                async for chunk in chunks:
                    held.append(chunk)
                    ended = chunk.finish_reason is not None
                    if ended or self.rng.random() < 0.4:
                        ids = tuple(token for part in held for token in part.token_ids)
                        bill.prompt, bill.generated = inner.prompt, inner.generated
                        yield Chunk("".join(part.text for part in held), ids, chunk.finish_reason)
                        held.clear()
        finally:
            if ended:
                bill.generated, bill.exact = inner.generated, True
            elif self.rng.random() < 0.7:
                await asyncio.sleep(self.rng.choice([0, 0.001]))
                bill.generated, bill.exact = self.rng.randint(inner.generated, max_tokens), True
            if bill.exact:
                self.worst[place] = bill.generated


@dataclass
class Haggler(SeededScorer):
    """A scorer that may be cancelled before it has said what it cost."""

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        inner = Bill()
        scores = await super().score(question, steps, first, inner)
        bill.prompt, bill.generated, bill.exact = inner.prompt, inner.generated, True
        return scores


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(EVERY)),
    depth=st.integers(1, 8),
    policy_tokens=st.none() | st.integers(1, 200),
    reward_tokens=st.none() | st.integers(1, 400),
    cap=st.integers(1, 60),
    parallel=st.none() | st.integers(1, 5),
    score=st.fixed_dictionaries(
        {"steps": st.sampled_from(["min", "prod", "last"]), "select": st.sampled_from(["best", "weighted_vote"])}
    ),
    stops_at_steps=st.booleans(),
    deadline_s=st.sampled_from([0.003, 5.0, 5.0]),
    order=st.integers(0, 2**32),
)
def test_no_budget_is_passed_by_one_token(
    name: str,
    depth: int,
    policy_tokens: int | None,
    reward_tokens: int | None,
    cap: int,
    parallel: int | None,
    score: dict[str, str],
    stops_at_steps: bool,
    deadline_s: float,
    order: int,
) -> None:
    """What the engines have really generated and read stays within the limits, and every search ends."""
    rng, strategy = random.Random(order), EVERY[name]
    policy = Adversary(pause=lambda: rng.choice([0, 0, 0.0001]), depth=depth, stops_at_steps=stops_at_steps, rng=rng)
    scorer = Haggler(pause=lambda: rng.choice([0, 0.0001]))

    async def run() -> None:
        before = asyncio.all_tasks()
        try:
            result = await solve(
                policy,
                strategy,
                scorer=scorer,
                deadline_s=deadline_s,
                budget={"policy_tokens": policy_tokens, "reward_tokens": reward_tokens, "parallel": parallel},
                max_completion_tokens=cap,
                seed=order,
                score=score,
            )
        except NoAnswer:
            pass
        else:
            usage = result.usage
            ends = {"completed", "decided", "policy_tokens", "reward_tokens"}
            assert result.stopped_by in (ends if deadline_s > 1 else ends | {"deadline"})
            if not usage.policy.estimated:
                assert usage.policy.kept + usage.policy.discarded == sum(policy.worst)
            assert usage.reward.submitted >= sum(bill.prompt for bill in scorer.bills)
            assert reward_tokens is None or usage.reward.submitted <= reward_tokens
        assert policy_tokens is None or sum(policy.worst) <= policy_tokens
        assert parallel is None or policy.most_open <= parallel
        assert policy.open_streams == 0
        assert asyncio.all_tasks() == before

    asyncio.run(run())
