"""One list of what OpenAI's clients expect (conformance.json), run by the official Python and Node clients."""

import asyncio
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from expected import differences, streamed
from gateways import BusyWorkers, busy_gateway, guarded_gateway
from python_client import ask

from service.errors import Overloaded

pytestmark = pytest.mark.stack

HERE = Path(__file__).parent
EASY = "Bo has 12 pens. Ann has 5 more pens than Bo. How many pens does Ann have?"
HARD = json.loads((HERE.parents[1] / "models" / "heldout.jsonl").read_text().splitlines()[398])["problem"]
WORDS = {"$question": EASY, "$hard": HARD, "$long": "Bo has 12 pens. " * 500}
NODE_LIMIT_S = 120

Outcomes = dict[str, list[dict[str, Any]]]


def filled(value: Any) -> Any:
    """Put the questions in place of their names; a new seed is one that no client has searched with."""
    match value:
        case dict():
            return {key: filled(inner) for key, inner in value.items()}
        case list():
            return [filled(inner) for inner in value]
        case "$new_seed":
            return secrets.randbits(40)
        case _:
            return WORDS.get(value, value) if isinstance(value, str) else value


ITEMS = {item["name"]: item for item in json.loads((HERE / "conformance.json").read_text())}


@pytest.fixture(scope="module")
def workers() -> dict[str, BusyWorkers]:
    """The overloaded workers that each client meets."""
    return {"python": BusyWorkers(), "node": BusyWorkers()}


@contextmanager
def servers(stack: Any, workers: BusyWorkers, folder: Path) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Serve what the items are to be sent to; yield the roots by name, and the items with their keys."""
    with busy_gateway(workers, folder / "busy") as busy, guarded_gateway(folder / "guarded") as (guarded, keys):
        items = {name: filled(item) for name, item in ITEMS.items()}
        for item in items.values():
            if "key" in item:
                item["key"] = keys[item["key"]]
        yield {"stack": stack.gateway_url, "busy": busy, "guarded": guarded}, items


@pytest.fixture(scope="module")
def by_python(stack: Any, workers: dict[str, BusyWorkers], tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each item with the Python client."""
    with servers(stack, workers["python"], tmp_path_factory.mktemp("python")) as (urls, items):

        async def run() -> Outcomes:
            return {
                name: [await ask(item, urls[item.get("server", "stack")]) for _ in range(item.get("times", 1))]
                for name, item in items.items()
            }

        return asyncio.run(run())


@pytest.fixture(scope="module")
def by_node(stack: Any, workers: dict[str, BusyWorkers], tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each item with the Node client, installed from its lock into a folder that is thrown away."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "ask.mjs"):
        shutil.copy(HERE / "node" / name, folder)
    _run("npm", "ci", "--no-audit", "--no-fund", folder=folder)
    with servers(stack, workers["node"], folder) as (urls, items):
        given = {"items": list(items.values()), "urls": urls}
        came = json.loads(_run("node", "ask.mjs", folder=folder, given=json.dumps(given)))
    return dict(zip(ITEMS, came, strict=True))


def _run(*command: str, folder: Path, given: str = "") -> str:
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=NODE_LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["python", "node"])
def client(request: pytest.FixtureRequest) -> str:
    """The name of one of the clients."""
    return str(request.param)


@pytest.fixture
def outcomes(client: str, request: pytest.FixtureRequest) -> Outcomes:
    """What came of each item with one of the clients."""
    return request.getfixturevalue(f"by_{client}")


@pytest.mark.parametrize("name", ITEMS)
def test_client_gets_what_it_expects(name: str, outcomes: Outcomes) -> None:
    """Each item of the list, with both clients."""
    item = ITEMS[name]
    for came in outcomes[name]:
        if "error" in item:
            assert list(differences(item["error"], came.get("error"), "error")) == [], came
        elif "stream" in item:
            assert "chunks" in came, came
            assert list(differences(item["stream"], streamed(came["chunks"]), "stream")) == []
        else:
            assert list(differences(item.get("reply", {}), came.get("reply"), "reply")) == [], came
            assert list(differences(item.get("response_headers", {}), came.get("headers", {}), "headers")) == []


def test_usage_adds_up(outcomes: Outcomes) -> None:
    """In every answer that has a bill: what was read and what was written is all there is."""
    bills = [usage for came in outcomes.values() for one in came if (usage := one.get("reply", {}).get("usage"))]
    assert bills
    for bill in bills:
        read, written = ("input", "output") if "input_tokens" in bill else ("prompt", "completion")
        assert bill["total_tokens"] == bill[f"{read}_tokens"] + bill[f"{written}_tokens"]


def test_a_seed_repeats_the_answer(outcomes: Outcomes) -> None:
    """Asked twice with one seed, the choices are the same."""
    first, again = outcomes["one seed brings one answer"]
    assert first["reply"]["choices"] == again["reply"]["choices"]


def test_answers_of_one_search_are_distinct(outcomes: Outcomes) -> None:
    """The n choices do not come to the same answer."""
    [came] = outcomes["n brings distinct answers of one search"]
    texts = [choice["message"]["content"] for choice in came["reply"]["choices"]]
    answers = [text.partition("\\boxed{")[2].partition("}")[0] for text in texts]
    assert len(set(answers)) == len(answers)


def test_retry_after_is_honoured(client: str, outcomes: Outcomes, workers: dict[str, BusyWorkers]) -> None:
    """The second attempt comes no sooner than the first one's refusal said."""
    assert outcomes
    refused, answered = workers[client].asked_at[:2]
    assert Overloaded.retry_after is not None
    assert answered - refused >= Overloaded.retry_after


def test_clients_that_gave_up_leave_nothing_running(stack: Any, outcomes: Outcomes) -> None:
    """After a timeout and a cancellation the policy is idle."""
    assert outcomes
    end = time.monotonic() + 10
    while (running := _running(stack.policy_url)) and time.monotonic() < end:
        time.sleep(0.1)
    assert running == 0


def _running(url: str) -> float:
    """Return how many requests a vLLM server has running or waiting."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))
