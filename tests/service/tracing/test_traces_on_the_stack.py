"""One trace through all processes: the gateway's, a worker's, and a collector that gets both."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from kept_spans import Collector, Sent

from service.stack.state import StateDir

pytestmark = pytest.mark.stack

SENT_WITHIN_S = 20.0
ASK = {
    "model": "tiny-policy",
    "messages": [{"role": "user", "content": "Al has 3 pens. Bo has 4 more pens than Al. How many pens does Bo have?"}],
    "mull": {"strategy": {"name": "best_of_n", "samples": 4, "early_stop": "off"}},
}


def test_one_trace_from_the_gateway_to_the_engines(
    stack,
    collector: Collector,
    run_mull: Callable[..., str],
    own_environment: dict[str, str],
) -> None:
    """Its id is the answer's; the spans of the engine calls have the tokens that the answer tells."""
    urls = ["--policy-url", stack.policy_url, "--reward-url", stack.reward_url]
    environment = own_environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    run_mull("serve", *urls, "--detach", environment=environment)
    try:
        state = StateDir(Path(own_environment["MULL_STATE_DIR"])).load()
        assert state is not None
        answer = httpx.post(f"{state.url}/v1/chat/completions", json=ASK, timeout=60)
        assert answer.status_code == 200, answer.text
        mull = answer.json()["mull"]
        spans = sent(collector, mull["trace_id"])
    finally:
        run_mull("down", environment=own_environment)
    by_name: dict[str, list[Sent]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    (served,), (search,) = by_name["POST /v1/chat/completions"], by_name["search"]
    assert (served.service, search.service) == ("mull-gateway", "mull-worker")
    assert (served.parent, search.parent) == ("", served.span_id)
    streams, scorings = by_name["policy.stream"], by_name["reward.score"]
    assert {span.parent for span in (*streams, *scorings)} == {search.span_id}
    usage = mull["usage"]
    assert len(streams) == 4
    assert total(streams, "gen_ai.usage.output_tokens") == usage["policy"]["kept"] + usage["policy"]["discarded"]
    assert total(streams, "gen_ai.usage.input_tokens") == usage["policy"]["prompt"]
    assert total(scorings, "gen_ai.usage.input_tokens") == usage["reward"]["submitted"]
    assert served.facts["mull.policy.kept_tokens"] == search.facts["mull.policy.kept_tokens"] == usage["policy"]["kept"]
    assert {f"http://{span.facts['server.address']}:{span.facts['server.port']}" for span in streams} == {
        stack.policy_url
    }


def sent(collector: Collector, trace_id: str) -> list[Sent]:
    """Return the spans of a trace, once the one has come that ends last."""
    until = time.monotonic() + SENT_WITHIN_S
    while time.monotonic() < until:
        found = [span for span in collector.spans if span.trace_id == trace_id]
        if {"POST /v1/chat/completions", "search"} <= {span.name for span in found}:
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing of {trace_id} within {SENT_WITHIN_S:g} s: {collector.spans}")


def total(spans: list[Sent], fact: str) -> int:
    return sum(int(str(span.facts[fact])) for span in spans)
