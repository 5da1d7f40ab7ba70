from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines import probe
from service.engines.fleet import Fleet
from service.engines.probe import Finding, probe_policy, probe_reward
from service.settings import PolicySettings, RewardSettings


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    return await at_end.enter_async_context(FakeVllm(name="small").running())


def can(fake: FakeVllm, *, cached: int | None = 256, left_running: int = 0) -> None:
    """Let it run no request at first, and `left_running` after the first that was left."""

    def complete(body: Json) -> Events:
        end = {**usage(len(body["prompt"]), 1, cached), "choices": []}
        if "ignore_eos" in body:
            fake.replies["/metrics"] = lambda _: metrics(left_running)
            return Events([delta("x", [4])], then="hold", aborted=[delta("", [], "abort"), end])
        return Events([delta("x", [4], "length"), end])

    fake.replies["/v1/completions"] = complete
    fake.replies["/metrics"] = lambda _: metrics(0)


def metrics(running: int) -> web.Response:
    return web.Response(
        text="# TYPE vllm:num_requests_running gauge\n"
        f'vllm:num_requests_running{{engine="0",model_name="small"}} {running}.0\n'
        'vllm:num_requests_waiting{engine="0",model_name="small"} 3.0\n',
    )


async def findings(fake: FakeVllm) -> dict[str, Finding]:
    settings = PolicySettings.model_validate({"model": "small", "url": fake.url})
    async with Fleet(settings) as client:
        return {finding.name: finding for finding in await probe_policy(settings, client)}


async def test_an_engine_that_can_everything_lacks_nothing(fake: FakeVllm) -> None:
    """Every probe is made, and says what it saw."""
    can(fake)
    found = await findings(fake)
    assert len(found) == 7
    assert all(finding.ok and finding.detail for finding in found.values())


@pytest.mark.parametrize("cached", [None, 0])
async def test_missing_cached_token_counts_name_the_flag_and_stop_nothing(fake: FakeVllm, cached: int | None) -> None:
    """A search can do without them."""
    can(fake, cached=cached)
    found = await findings(fake)
    assert not found["cached-token counts"].ok
    assert not found["cached-token counts"].needed
    assert "--enable-prompt-tokens-details" in found["cached-token counts"].detail
    assert found["repeatable seed"].ok


async def test_an_engine_that_runs_on_after_a_disconnect_is_found_out(
    fake: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search needs the abort: it is what makes giving up a candidate worth while."""
    monkeypatch.setattr(probe, "ABORT_WAIT_S", 0.1)
    can(fake, left_running=1)
    found = await findings(fake)
    assert (found["abort on disconnect"].ok, found["abort on disconnect"].needed) == (False, True)


async def test_an_engine_that_cannot_abort_by_name_is_told_how(fake: FakeVllm) -> None:
    """A search can do without, at the price of estimated figures."""
    can(fake)
    fake.abort_status = 403
    found = await findings(fake)
    assert (found["abort"].ok, found["abort"].needed) == (False, False)
    assert "--enable-scale-out" in found["abort"].detail
    assert found["repeatable seed"].ok


async def test_an_engine_that_is_not_there_is_one_finding(fake: FakeVllm) -> None:
    """There is nothing else to try."""
    fake.url = "http://127.0.0.1:9"
    found = list((await findings(fake)).values())
    assert [(finding.name, finding.ok, finding.needed) for finding in found] == [("model", False, True)]
    assert "cannot be reached" in found[0].detail


@pytest.mark.parametrize(
    ("family", "tried"), [("qwen_prm", ["model", "tokens", "scores"]), ("classifier", ["model", "scores"])]
)
async def test_a_reward_model_is_tried_for_what_its_family_asks(fake: FakeVllm, family: str, tried: list[str]) -> None:
    """Neither of these writes anything: there are no cached-token counts, nor an abort by name."""
    data = [[0.9, 0.1]] if family == "qwen_prm" else [0.1]
    fake.replies["/pooling"] = lambda _: web.json_response({"data": [{"data": data}]})
    settings = RewardSettings.model_validate({"model": "small", "url": fake.url, "family": family})
    async with Fleet(settings) as client:
        found = await probe_reward(settings, client)
    assert [finding.name for finding in found] == tried
    assert all(finding.ok for finding in found)


async def test_a_reward_model_that_cannot_score_is_found_out(fake: FakeVllm) -> None:
    """It is told with which flags it would: here a policy is served as if it were a reward model."""
    settings = RewardSettings.model_validate({"model": "small", "url": fake.url, "family": "classifier"})
    async with Fleet(settings) as client:
        found = await probe_reward(settings, client)
    assert [(finding.name, finding.ok, finding.needed) for finding in found][1:] == [("scores", False, True)]
