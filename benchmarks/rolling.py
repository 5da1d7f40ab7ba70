"""A rolling restart under load: every gateway and every search worker is replaced, and no request is to be lost.

    make serve
    .venv/bin/python -m benchmarks.rolling --in-flight 8

Two pods of `deploy/k8s/plain` as processes: each a `mull up` with a gateway, a Ray and workers of its own, on the
engines and the Redis of the running stack. Clients ask either, in a closed loop with the mix of `benchmarks.load`,
without ever asking twice. Pod by pod what Kubernetes does is done: a new pod starts and is ready, the old one is sent
nothing new, five seconds later (`preStop`) it gets SIGTERM, and ends when its open requests are answered.

It fails (exit status 1) on any request that is not answered with a 200 and brought to its end.
"""

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import aiohttp

from benchmarks.load import DEADLINE_S, MIX, ask
from benchmarks.running_stack import hardware, held_out, running_stack
from service.settings import Settings
from service.settings_file import load_settings
from service.stack.lifecycle import start_detached, stop_stack
from service.stack.ports import free_ports
from service.stack.state import StateDir

PRE_STOP_S, DRAIN_S = 5.0, 600
PEACE_S = 30.0
"""How long the load runs before the first restart, and after the last."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod: where its gateway answers, and where its state lies."""

    url: str
    folder: Path


@dataclass(slots=True)
class Log:
    """What came of the requests: of each answer when it came, how long it took, and which pod gave it."""

    answers: list[tuple[float, float, Pod]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Roll:
    """One pod replaced: seconds until the new one was ready, and from SIGTERM until the old one had ended.

    `open` are the requests that the old one had when it got the signal.
    """

    start_s: float
    drain_s: float
    open: int


class Service:
    """Sends each request to a pod in turn, as a Service of Kubernetes does; `pods` are those that are sent any."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """`settings` name engines and Redis by their addresses; the pods' files go below `folder`."""
        self.pods: list[Pod] = []
        self.open: Counter[Pod] = Counter()
        self._settings = settings
        self._folders = (folder / f"pod-{number}" for number in itertools.count(1))
        self._ports = free_ports()
        self._turns = itertools.count()

    def started(self, parts: ExitStack) -> Pod:
        """Start a pod, and return when it can answer; it is stopped with `parts` at the latest."""
        folder, port = next(self._folders), next(self._ports)
        gateway = self._settings.gateway.model_copy(update={"port": port, "drain_s": DRAIN_S})
        ray = self._settings.ray.model_copy(update={"address": None, "metrics_port": None})
        settings = self._settings.model_copy(update={"gateway": gateway, "ray": ray, "state_dir": folder})
        parts.callback(stop_stack, folder, _silently)
        start_detached(settings, profile="cpu", say=_silently)
        return Pod(gateway.url, folder)

    async def client(self, log: Log, over: Callable[[], bool], numbers: "itertools.count[int]") -> None:
        """Ask one request after the other until it is over."""
        questions = held_out(500)
        timeout, headers = aiohttp.ClientTimeout(DEADLINE_S + 30), {"cache-control": "no-store"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as http:
            while not over():
                number, sent = next(numbers), time.monotonic()
                pod = self.pods[next(self._turns) % len(self.pods)]
                self.open[pod] += 1
                status, _ = await ask(
                    http, MIX[number % len(MIX)], questions[number * 7 % len(questions)], number, at=pod.url
                )
                self.open[pod] -= 1
                if status == "200":
                    log.answers.append((time.monotonic(), time.monotonic() - sent, pod))
                else:
                    log.errors[status] += 1

    async def replace(self, old: Pod, parts: ExitStack) -> Roll:
        """Replace a pod as Kubernetes does with `maxSurge: 1` and `maxUnavailable: 0`."""
        begun = time.monotonic()
        self.pods.append(await asyncio.to_thread(self.started, parts))
        start_s = time.monotonic() - begun
        self.pods.remove(old)
        await asyncio.sleep(PRE_STOP_S)
        begun, left = time.monotonic(), self.open[old]
        await asyncio.to_thread(stop_stack, old.folder, _silently)
        return Roll(start_s, time.monotonic() - begun, left)


async def run(service: Service, log: Log, in_flight: int) -> tuple[list[Roll], float, float]:
    """Replace each pod once under load; return that, and when it began and ended."""
    rolling, numbers = True, itertools.count()
    with ExitStack() as parts:
        for _ in range(2):
            service.pods.append(await asyncio.to_thread(service.started, parts))
        clients = [asyncio.create_task(service.client(log, lambda: not rolling, numbers)) for _ in range(in_flight)]
        await asyncio.sleep(PEACE_S)
        begun = time.monotonic()
        rolls = [await service.replace(pod, parts) for pod in tuple(service.pods)]
        ended = time.monotonic()
        await asyncio.sleep(PEACE_S)
        rolling = False
        await asyncio.gather(*clients)
    return rolls, begun, ended


def _silently(_: str) -> None:
    """Say nothing."""


def main() -> None:
    """Restart, and print one line of JSON; exits with 1 where a request was lost."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--in-flight", type=int, default=8)
    given = options.parse_args()
    running_stack()
    settings, log = load_settings(StateDir(load_settings(None).state_dir).settings), Log()
    with tempfile.TemporaryDirectory() as folder:
        rolls, begun, ended = asyncio.run(run(Service(settings, Path(folder)), log, given.in_flight))
    meanwhile = [seconds for at, seconds, _ in log.answers if begun <= at <= ended]
    peace = [seconds for at, seconds, _ in log.answers if not begun <= at <= ended]
    outcome = {
        "benchmark": "rolling",
        **hardware(),
        "in_flight": given.in_flight,
        "answered": len(log.answers),
        "answered_while_rolling": len(meanwhile),
        "by_pod": [count for _, count in sorted(Counter(str(pod.folder) for _, _, pod in log.answers).items())],
        "errors": dict(log.errors),
        "start_s": [round(roll.start_s, 1) for roll in rolls],
        "drain_s": [round(roll.drain_s, 1) for roll in rolls],
        "open_at_the_signal": [roll.open for roll in rolls],
        "p95_s": {"peace": round(quantiles(peace, n=20)[-1], 2), "rolling": round(quantiles(meanwhile, n=20)[-1], 2)},
    }
    print(json.dumps(outcome))
    if log.errors:
        raise SystemExit("lost: " + "; ".join(f"{count} answers: {status}" for status, count in log.errors.items()))


if __name__ == "__main__":
    main()
