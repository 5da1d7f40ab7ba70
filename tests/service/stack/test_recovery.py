"""Parts of the running stack are killed: what clients see meanwhile, and that it heals by itself."""

import os
import signal
import threading
import time

import httpx
import pytest

pytestmark = pytest.mark.stack

BACK_WITHIN_S = 150
DEADLINE_MS = 20_000


def test_policy_killed_during_a_search(stack) -> None:
    """The client gets a 503 that can be retried, within its deadline; the policy comes back and answers again."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Al has 17 pens. Bo has 4 more pens than Al. How many has Bo?"}],
        "mull": {"strategy": {"name": "best_of_n", "samples": 64}, "budget": {"deadline_ms": DEADLINE_MS}},
        "seed": 77,
    }
    policy = stack.state.part("policy").process
    began = time.monotonic()
    killer = threading.Timer(0.3, os.kill, (policy.pid, signal.SIGKILL))
    killer.start()
    reply = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60)
    killer.join()
    assert reply.status_code == 503, reply.text
    assert time.monotonic() - began < DEADLINE_MS / 1000
    assert int(reply.headers["retry-after"]) > 0
    assert httpx.get(f"{stack.gateway_url}/readyz", timeout=60).status_code == 503
    assert httpx.get(f"{stack.gateway_url}/healthz").status_code == 200

    until = time.monotonic() + BACK_WITHIN_S
    while httpx.get(f"{stack.gateway_url}/readyz", timeout=60).status_code != 200:
        assert time.monotonic() < until, "the policy server did not come back"
        time.sleep(1)
    assert stack.state.part("policy").process != policy
    again = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60)
    assert again.status_code == 200, again.text
