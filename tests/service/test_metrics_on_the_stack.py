"""The metrics of a running stack, against what the replies say."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.worker_metrics import METRICS

HELD_OUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"
FLAT: dict[str, Any] = {"name": "best_of_n", "samples": 4, "early_stop": "off"}
TREE: dict[str, Any] = {"name": "beam_search"}
VOTE: dict[str, Any] = {"name": "majority_vote", "samples": 8}
TOLD_S = 30.0
"""Workers tell their numbers every two seconds; a busy machine may need longer."""
QUIET_S = 5.0
"""When a page has said the same for so long, it tells of everything that was before."""

pytestmark = pytest.mark.stack


def scraped(url: str) -> list[Any]:
    """The samples that a page of metrics has."""
    answer = httpx.get(url, timeout=10).raise_for_status()
    return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]


def total(samples: list[Any], name: str, **labels: str) -> float:
    """The sum over everything that has these labels."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def ask(stack: Any, strategy: dict[str, Any]) -> dict[str, Any]:
    """Search once; return what the reply says in `mull`."""
    problem = json.loads(HELD_OUT.read_text().splitlines()[301])["problem"]
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": problem}],
        "seed": uuid.uuid4().int % 2**62,
        "mull": {"strategy": strategy, "include": ["candidates"]},
    }
    answer = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=90)
    return dict(answer.raise_for_status().json()["mull"])


def workers_page(stack: Any) -> str:
    """Where Prometheus finds the workers' metrics, by what `mull up` wrote down."""
    return str(stack.state.part("workers").metrics)


def grown(page: str, before: list[Any], is_so: Callable[[list[Any]], bool]) -> list[Any]:
    """Read a page until what `is_so` says of it is so."""
    until = time.monotonic() + TOLD_S
    while not is_so(now := scraped(page)):
        assert time.monotonic() < until, f"{page} has not told it"
        time.sleep(0.5)
    return now


def quiet(page: str) -> list[Any]:
    """Read a page until no search that other tests have made is still to come."""
    ended, since = -1.0, time.monotonic()
    until = since + TOLD_S
    while time.monotonic() - since < QUIET_S:
        assert time.monotonic() < until, f"{page} tells of ever more searches"
        samples = scraped(page)
        if (now := total(samples, "ray_mull_stopped_total")) != ended:
            ended, since = now, time.monotonic()
        time.sleep(0.5)
    return samples


def test_gateway_counts_what_replies_say(stack: Any) -> None:
    """After mixed traffic: tokens of both models, and answers, by strategy."""
    page = f"{stack.gateway_url}/metrics"
    before = scraped(page)
    replies = {strategy["name"]: ask(stack, strategy) for strategy in (FLAT, TREE, VOTE)}
    after = scraped(page)
    for name, reply in replies.items():
        for role, kinds in (("policy", ("kept", "discarded", "prompt")), ("reward", ("submitted", "generated"))):
            for kind in kinds:
                metric, labels = f"mull_{role}_tokens_total", {"strategy": name, "kind": kind}
                spent = total(after, metric, **labels) - total(before, metric, **labels)
                assert spent == reply["usage"][role][kind], (name, role, kind)
        asked = "mull_request_duration_seconds_count"
        assert total(after, asked, strategy=name, outcome="ok") - total(before, asked, strategy=name, outcome="ok") == 1


def test_workers_count_what_replies_say(stack: Any) -> None:
    """Why searches stopped, how many nodes and how many scores they had; each page says the same."""
    page = workers_page(stack)
    before = quiet(page)
    replies = [ask(stack, FLAT) for _ in range(2)]

    def rise(samples: list[Any], name: str, **labels: str) -> float:
        return total(samples, name, **labels) - total(before, name, **labels)

    stopped = "ray_mull_stopped_total"
    after = grown(page, before, lambda now: rise(now, stopped, strategy="best_of_n", reason="completed") >= 2)
    assert rise(after, stopped, strategy="best_of_n") == 2
    assert rise(after, "ray_mull_search_expansions_total", strategy="best_of_n") == 8
    assert rise(after, "ray_mull_search_depth_count", strategy="best_of_n") == 2
    scores = sum(len(candidate["scores"]) * candidate["multiplicity"] for r in replies for candidate in r["candidates"])
    assert 0 < rise(after, "ray_mull_scoring_wait_seconds_count", strategy="best_of_n") <= scores
    passed_on = scraped(f"{stack.gateway_url}/metrics/workers")
    assert total(passed_on, stopped, strategy="best_of_n") >= total(after, stopped, strategy="best_of_n")


def test_engines_are_told_as_the_workers_see_them(stack: Any) -> None:
    """Every server, with its requests; none is left alone, and when all is over none is in flight."""
    page = workers_page(stack)
    ask(stack, FLAT)
    servers = {
        ("policy", httpx.URL(stack.policy_url).netloc.decode()),
        ("reward", httpx.URL(stack.reward_url).netloc.decode()),
    }
    in_flight = "ray_mull_engine_in_flight"
    after = grown(page, [], lambda now: total(now, "ray_mull_engine_requests_total", outcome="ok") > 0)
    assert {(s.labels["role"], s.labels["replica"]) for s in after if s.name == in_flight} == servers
    assert total(after, "ray_mull_engine_breaker_open") == 0
    grown(page, [], lambda now: total(now, in_flight) == 0)


def test_every_worker_metric_reaches_prometheus(stack: Any) -> None:
    """Under its name and with its labels: counters of engines before anything has happened to them."""
    ask(stack, FLAT)
    ask(stack, VOTE)
    names = {f"ray_{m.name}" + {"counter": "_total", "histogram": "_bucket", "gauge": ""}[m.kind]: m for m in METRICS}
    after = grown(workers_page(stack), [], lambda now: names.keys() <= {sample.name for sample in now})
    for name, metric in names.items():
        assert all(set(metric.labels) <= sample.labels.keys() for sample in after if sample.name == name)


def test_state_says_where_metrics_are(stack: Any) -> None:
    """Of every part that has any: each URL answers in Prometheus' format."""
    pages = {part.name: part.metrics for part in stack.state.parts}
    assert {name for name, page in pages.items() if page is None} == {"redis"}
    for page in pages.values():
        assert page is None or scraped(page)
