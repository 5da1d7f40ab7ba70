import asyncio
import doctest
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web

from service import library
from service.errors import EngineUnavailable, InvalidRequest
from service.library import (
    BoxedReader,
    Budget,
    PolicySettings,
    ScriptedPolicy,
    ScriptedScorer,
    SearchResult,
    Spec,
    read_trace,
    solve,
)
from service.search import answer_readers
from strategies.flat import Flat
from strategies.protocol import Strategy
from strategies.selection import in_order
from strategies.spec import ScoreSpec

RIGHT = "Two and two.\n\nSo \\boxed{4}."
WRONG = "A guess.\n\nSo \\boxed{5}."
SCORES = {"Two and two.": 0.9, "So \\boxed{4}.": 0.8, "A guess.": 0.2, "So \\boxed{5}.": 0.1}


async def ask(*solutions: str, question: Any = "2 + 2 = ?", **options: Any) -> SearchResult:
    """Ask a policy that writes `solutions`; answers stand in boxes."""
    options = {"policy": ScriptedPolicy(solutions), "reader": BoxedReader()} | options
    return await solve(question, **options)


class First(Spec):
    """A strategy of one's own: candidates in the order of their launch."""

    name: Literal["first"] = "first"
    tries: int = 2

    @property
    def needs_scores(self) -> bool:
        """The first is taken as it is."""
        return False

    @property
    def candidates(self) -> int:
        """All tries."""
        return self.tries

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine."""
        return Flat(self.tries, in_order)


def test_the_example_in_the_docstring_runs() -> None:
    """It is the first thing that a reader tries."""
    assert doctest.testmod(library).attempted > 0
    assert doctest.testmod(library).failed == 0


def test_neither_ray_nor_redis_is_imported() -> None:
    """In a fresh interpreter, also after a search."""
    code = """
import asyncio, sys
from service.library import BoxedReader, ScriptedPolicy, solve
found = asyncio.run(solve("?", policy=ScriptedPolicy([r"\\\\boxed{4}"]), strategy="sample", reader=BoxedReader()))
print(found.choices[0].answer, sorted({"ray", "redis", "fastapi"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4 []\n"


async def test_a_majority_votes_where_nothing_scores() -> None:
    """Without a reward model the default is a vote of sixteen."""
    found = await ask(*[WRONG, RIGHT, RIGHT] * 6)
    assert found.choices[0].answer == "4"
    assert sum(vote.candidates for vote in found.votes) <= 16
    assert found.usage.reward.submitted == 0


async def test_a_reward_model_is_used_where_there_is_one() -> None:
    """The default is then best_of_n: one right solution outweighs two wrong ones."""
    options = {"reward": ScriptedScorer(SCORES), "strategy": {"name": "best_of_n", "samples": 3}}
    found = await ask(WRONG, WRONG, RIGHT, **options)
    assert found.choices[0].answer == "4"
    assert found.choices[0].scores == (0.9, 0.8)


async def test_a_strategy_of_ones_own_is_run() -> None:
    """With its own parameters, by its own rules."""
    found = await ask(WRONG, RIGHT, RIGHT, strategy=First(tries=3))
    assert found.choices[0].answer == "5"
    assert len(found.candidates) == 3


async def test_mappings_and_objects_mean_the_same() -> None:
    """A budget as a mapping is a budget."""
    first, second = [
        await ask(RIGHT, strategy="sample", budget=budget) for budget in ({"policy_tokens": 3}, Budget(policy_tokens=3))
    ]
    assert first.usage == second.usage
    assert first.usage.policy.kept == 3
    assert first.stopped_by == second.stopped_by


async def test_a_chat_ends_with_the_question() -> None:
    """Earlier turns are sent on; a chat that the assistant ends asks nothing."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2 = ?"}]
    assert (await ask(RIGHT, question=turns, strategy="sample")).choices[0].answer == "4"
    with pytest.raises(InvalidRequest, match="no question"):
        await ask(RIGHT, question=[*turns, {"role": "assistant", "content": "4"}], strategy="sample")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "best_of_n"}, "needs a reward model"),
        ({"strategy": "majority_vote", "score": {"select": "best"}}, "uses no scores"),
        ({"score": {"source": "mean_logprob", "select": "weighted_vote"}}, "cannot weigh votes"),
        ({"score": {"source": "mean_logprob"}, "strategy": {"name": "best_of_n", "early_stop": "exact"}}, "early_stop"),
        ({"strategy": {"name": "greedy"}, "sampling": {"temperature": 0.5}}, "greedy decodes at temperature 0"),
        ({"strategy": "majority_vote", "n": 17}, "n is 17"),
        ({"strategy": "majority_vote", "n": 0}, "n is 0"),
        ({"strategy": "no_such"}, "strategy"),
        ({"strategy": {"name": "majority_vote", "sample": 3}}, "strategy.majority_vote.sample"),
        ({"budget": {"tokens": 3}}, "budget.tokens"),
        ({"max_completion_tokens": 0}, "solve.max_completion_tokens"),
        ({"question": "  "}, "no question"),
        ({"policy": PolicySettings(model="m")}, "no url"),
    ],
)
async def test_contradictions_are_refused(options: dict[str, Any], said: str) -> None:
    """Before any engine is asked, and in words that name the option."""
    policy = ScriptedPolicy([RIGHT])
    with pytest.raises(InvalidRequest, match=said):
        await ask(**{"policy": policy, **options})
    assert policy.calls == []


async def test_many_equal_candidates_are_warned_of() -> None:
    """At temperature 0 sixteen candidates are one: the policy's own temperature is used, and that is said."""
    found = await ask(RIGHT, RIGHT, strategy={"name": "majority_vote", "samples": 2}, sampling={"temperature": 0})
    assert "temperature 0 would make all 2 candidates the same" in found.warnings[0]


async def test_a_trace_is_gone_on_with(tmp_path: Path) -> None:
    """Records and files serve alike: four more samples cost four streams, and the two that were there nothing."""
    two = await ask(WRONG, RIGHT, strategy={"name": "majority_vote", "samples": 2, "early_stop": "off"}, trace=True)
    assert two.trace is not None
    file = tmp_path / "two.jsonl"
    file.write_text("\n".join(json.dumps(record) for record in two.trace))
    for past in (two.trace, file, read_trace(file)):
        policy = ScriptedPolicy([WRONG, RIGHT, RIGHT, RIGHT, WRONG, RIGHT])
        wanted = {"name": "majority_vote", "samples": 6, "early_stop": "off"}
        six = await ask(policy=policy, strategy=wanted, continue_from=past)
        assert len(policy.calls) == 4
        assert six.continued is not None
        assert six.continued.policy.discarded == two.usage.policy.kept + two.usage.policy.discarded
        assert six.choices[0].answer == "4"


async def test_a_trace_of_ones_own_strategy_is_read_by_its_class(tmp_path: Path) -> None:
    """Also where another strategy goes on with it; without the class, the error says what is missing."""
    found = await ask(WRONG, RIGHT, strategy=First(), trace=True)
    policy = ScriptedPolicy([WRONG, RIGHT, RIGHT])
    more = await ask(policy=policy, strategy=First(tries=3), continue_from=found.trace)
    assert (len(policy.calls), len(more.candidates)) == (1, 3)
    with pytest.raises(InvalidRequest, match="strategy 'first', which is not one of Mull's own"):
        await ask(WRONG, strategy="sample", continue_from=found.trace)
    flat = await ask(WRONG, RIGHT, strategy="sample", trace=True)
    again = await ask(WRONG, RIGHT, strategy=First(), continue_from=flat.trace)
    assert again.usage.policy.kept + again.usage.policy.discarded > flat.usage.policy.kept


async def test_another_question_is_not_a_continuation() -> None:
    """What was written answers the question that was asked."""
    found = await ask(RIGHT, strategy="sample", trace=True)
    with pytest.raises(InvalidRequest, match="another messages"):
        await ask(RIGHT, question="3 + 3 = ?", strategy="sample", continue_from=found.trace)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"not json\n", b"\xff\xfe\n"])
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, JSON of another kind, no JSON, no text."""
    file = tmp_path / "trace.jsonl"
    file.write_bytes(content)
    with pytest.raises(InvalidRequest):
        read_trace(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the reason."""
    with pytest.raises(InvalidRequest, match=r"none.jsonl cannot be read: No such file"):
        read_trace(tmp_path / "none.jsonl")


class Listing:
    """A server that lists models and does nothing else."""

    def __init__(self, *names: str) -> None:
        self._models = {"object": "list", "data": [{"id": name, "max_model_len": 64} for name in names]}
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return site.name

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(self._models)


@pytest.mark.parametrize("names", [[], ["a", "b"]])
async def test_a_server_of_several_models_is_not_guessed_at(names: Sequence[str]) -> None:
    """The error lists them, and says how to choose."""
    async with Listing(*names) as url:
        with pytest.raises(InvalidRequest, match=f"serves {len(names)} models: {', '.join(names)}") as raised:
            await solve("2 + 2 = ?", policy=url)
    assert "PolicySettings(model=" in raised.value.hint


async def test_a_server_that_is_not_there_is_an_engine_error() -> None:
    """Nothing listens on port 9 of this machine."""
    with pytest.raises(EngineUnavailable):
        await solve("2 + 2 = ?", policy="http://127.0.0.1:9")


async def test_what_was_opened_is_closed_when_the_search_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections to the engine, and the process that reads answers."""
    closed = []

    class Hanging(ScriptedPolicy):
        def __init__(self, *_: object) -> None:
            super().__init__([RIGHT], pause=lambda: 60)

        async def aclose(self) -> None:
            closed.append("policy")

    class Reader(BoxedReader):
        async def aclose(self) -> None:
            closed.append("reader")

    monkeypatch.setattr(library, "VllmPolicy", Hanging)
    monkeypatch.setattr(answer_readers, "MathAnswers", Reader)
    settings = PolicySettings.model_validate({"model": "m", "url": "http://127.0.0.1:9"})
    search = asyncio.create_task(solve("2 + 2 = ?", policy=settings, strategy="sample"))
    await asyncio.sleep(0.01)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    assert sorted(closed) == ["policy", "reader"]
