import httpx
import pytest
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines import probe
from service.engines.http import engine_client
from service.engines.probe import Finding, probe_policy
from service.settings import PolicySettings

SETTINGS = PolicySettings(model="small", url="http://engine")  # type: ignore[arg-type]


def server(*, cached: int | None, left_running: int) -> FakeVllm:
    """A vLLM that runs no request at first, and `left_running` after the first that was left."""
    fake = FakeVllm(name="small")

    def complete(body: Json) -> httpx.Response:
        if "ignore_eos" in body:
            fake.replies["/metrics"] = lambda _: metrics(left_running)
        end = {**usage(len(body["prompt"]), 1, cached), "choices": []}
        return httpx.Response(200, stream=Events([delta("x", [4], "length"), end]))

    fake.replies["/v1/completions"] = complete
    fake.replies["/metrics"] = lambda _: metrics(0)
    return fake


def metrics(running: int) -> httpx.Response:
    return httpx.Response(
        200,
        text="# TYPE vllm:num_requests_running gauge\n"
        f'vllm:num_requests_running{{engine="0",model_name="small"}} {running}.0\n'
        'vllm:num_requests_waiting{engine="0",model_name="small"} 3.0\n',
    )


async def findings(fake: FakeVllm) -> dict[str, Finding]:
    async with engine_client(SETTINGS, fake.transport()) as http:
        return {finding.name: finding for finding in await probe_policy(SETTINGS, http)}


async def test_an_engine_that_can_everything_lacks_nothing() -> None:
    """Every probe is made, and says what it saw."""
    found = await findings(server(cached=256, left_running=0))
    assert len(found) == 6
    assert all(finding.ok and finding.detail for finding in found.values())


@pytest.mark.parametrize("cached", [None, 0])
async def test_missing_cached_token_counts_name_the_flag_and_stop_nothing(cached: int | None) -> None:
    """A search can do without them."""
    found = await findings(server(cached=cached, left_running=0))
    assert not found["cached-token counts"].ok
    assert not found["cached-token counts"].needed
    assert "--enable-prompt-tokens-details" in found["cached-token counts"].detail
    assert found["repeatable seed"].ok


async def test_an_engine_that_runs_on_after_a_disconnect_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search needs the abort: it is what makes giving up a candidate worth while."""
    monkeypatch.setattr(probe, "ABORT_WAIT_S", 0.1)
    found = await findings(server(cached=256, left_running=1))
    assert (found["abort on disconnect"].ok, found["abort on disconnect"].needed) == (False, True)


async def test_an_engine_that_is_not_there_is_one_finding() -> None:
    """There is nothing else to try."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with engine_client(SETTINGS, httpx.MockTransport(refuse)) as http:
        found = await probe_policy(SETTINGS, http)
    assert [(finding.name, finding.ok, finding.needed) for finding in found] == [("model", False, True)]
    assert "cannot be reached" in found[0].detail
