import asyncio
from typing import Any

import httpx

from service.cli.client import Client, Search
from service.cli.grading import Graded, Tally, describe_errors, grade_all, seed_of
from service.cli.problems import Problem
from tests.service.cli.fake_gateway import URL, FakeGateway, completion, failure

PROBLEMS = [Problem(f"p{i}", f"What is {i} + 1?", str(i + 1)) for i in range(6)]
SEARCH = Search("tiny", "best_of_n", samples=4, seed=3)


class SameText:
    """A grader that compares the texts."""

    async def equivalent(self, gold: str, answer: str) -> bool:
        return gold == answer


async def graded(gateway: FakeGateway, concurrency: int = 2) -> list[Graded]:
    async with Client(URL, transport=gateway.transport) as client:
        return await grade_all(client, SameText(), PROBLEMS, SEARCH, concurrency=concurrency, done=lambda one: None)


def mixed(question: str, body: dict[str, Any]) -> dict[str, Any] | httpx.Response:
    """Three right, one wrong, one without an answer, one that fails."""
    number = int(question.split()[2])
    if number == 3:
        return completion("0")
    if number == 4:
        return completion(None)
    if number == 5:
        return failure(503, "The policy is down.", "EngineUnavailable")
    return completion(str(number + 1))


async def test_results_keep_the_order_of_the_problems() -> None:
    """Whatever finishes first, result i belongs to problem i."""
    results = await graded(FakeGateway(mixed), concurrency=6)
    assert [g.problem.id for g in results] == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert [g.correct for g in results] == [True, True, True, False, False, False]


async def test_a_failure_counts_neither_as_right_nor_as_wrong() -> None:
    """Accuracy is over the questions that got an answer from the service; a missing answer is wrong."""
    tally = Tally.of(await graded(FakeGateway(mixed)))
    assert (tally.questions, tally.replied, tally.errors, tally.unanswered) == (6, 5, 1, 1)
    assert tally.accuracy == 3 / 5
    assert (tally.policy_tokens, tally.reward_tokens, tally.seconds) == (100, 400, 0.5)


async def test_failures_are_described_with_their_number_and_the_first_problem() -> None:
    """The same message is said once."""
    gateway = FakeGateway(lambda question, body: failure(503, "The policy is down.", "EngineUnavailable"))
    results = await graded(gateway)
    assert describe_errors(results) == ["6 times: The policy is down. (first: p0)"]
    assert Tally.of(results).accuracy is None


async def test_each_question_has_a_seed_of_its_own() -> None:
    """Questions with one seed would share their random draws; the same run repeats the same seeds."""
    gateway = FakeGateway(mixed)
    await graded(gateway)
    seeds = [body["seed"] for body in gateway.bodies]
    assert len(set(seeds)) == 6
    assert set(seeds) == {seed_of(3, problem) for problem in PROBLEMS}
    assert all(0 <= seed < 2**31 for seed in seeds)


async def test_no_more_questions_are_in_flight_than_allowed() -> None:
    """The semaphore holds, and is used to the full."""
    flying = peak = 0

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal flying, peak
        flying += 1
        peak = max(peak, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        return httpx.Response(200, json=completion("1"))

    async with Client(URL, transport=httpx.MockTransport(slow)) as client:
        await grade_all(client, SameText(), PROBLEMS, SEARCH, concurrency=3, done=lambda one: None)
    assert peak == 3
