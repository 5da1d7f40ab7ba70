"""The stack that `mull up` has started, as the benchmarks see it."""

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from service.errors import StackError
from service.settings_file import load_settings
from service.stack.state import StateDir

HELD_OUT = Path(__file__).parents[1] / "models" / "heldout.jsonl"


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Where the gateway and the two engines of the tiny pair answer."""

    gateway: str
    policy: str
    reward: str


@dataclass(slots=True)
class Counted:
    """What two vLLM servers have counted since a moment: prompt and generated tokens of each."""

    policy_prompt: int = 0
    policy_generated: int = 0
    reward_prompt: int = 0
    reward_generated: int = 0


def running_stack() -> RunningStack:
    """Return the running stack; raises `StackError` where there is none."""
    state = StateDir(load_settings(None).state_dir).load()
    if state is None or not state.ready:
        raise StackError("No stack is running.", hint="Start one: make serve.")
    return RunningStack(state.url, state.part("policy").url, state.part("reward").url)


def held_out(count: int) -> list[str]:
    """Return `count` held-out problems, spread evenly over the 500."""
    lines = HELD_OUT.read_text().splitlines()
    return [json.loads(line)["problem"] for line in lines[:: max(1, len(lines) // count)][:count]]


def counters(url: str, *names: str) -> dict[str, float]:
    """Return the values of some of a vLLM server's metrics, without their prefix `vllm:`."""
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    return {
        name: sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{name}{{"))
        for name in names
    }


def check_searched(found: dict[str, Any]) -> None:
    """Raise `RuntimeError` where a search, by its `mull` object, was spared what earlier ones had done."""
    if found["cached"]:
        raise RuntimeError("answered from the cache: start the stack with MULL_REDIS__ENABLED=false")
    if found["usage"]["reward"]["remembered"]:
        raise RuntimeError("scores were remembered: start the stack with MULL_SCORES__SIZE=0")


@contextmanager
def counted(stack: RunningStack) -> Iterator[Counted]:
    """Count what both engines do within the context."""
    before, count = _tokens(stack), Counted()
    yield count
    after = _tokens(stack)
    count.policy_prompt, count.policy_generated, count.reward_prompt, count.reward_generated = (
        int(b - a) for a, b in zip(before, after, strict=True)
    )


def hardware() -> dict[str, Any]:
    """Return what a number was measured on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "machine": platform.machine(),
        "model": "tiny-policy 1.15 M + tiny-prm 1.7 M, vLLM CPU build, float32",
    }


def _tokens(stack: RunningStack) -> tuple[float, float, float, float]:
    names = ("prompt_tokens_total", "generation_tokens_total")
    policy, reward = counters(stack.policy, *names), counters(stack.reward, *names)
    return policy[names[0]], policy[names[1]], reward[names[0]], reward[names[1]]
