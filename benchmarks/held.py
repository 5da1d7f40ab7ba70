"""What a run under load comes to: throughput, latency and what the parts held, and whether all of it stayed level."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean, median, quantiles, stdev
from typing import Any

from benchmarks.parts import Taken

STEADY = 0.95
"""Least throughput of the last third, as a share of the first third's."""
MEMORY_NOISE, MEMORY_SLACK = 0.02, 4 * 2**20
"""How much more memory, as a share and in bytes on top, the last third may hold than the middle one."""
HANDLES_SLACK = 8
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The counters at one moment of the monotonic clock: tokens written by the policy, read by the reward model.

    `yardstick` is the CPU time, in seconds, that a fixed piece of work took then: it tells a machine that became
    slower, as shared ones do, from a service that did.
    """

    at: float
    policy: int
    reward: int
    parts: dict[str, Taken]
    yardstick: float


@dataclass(frozen=True, slots=True)
class Held:
    """Figures for the line of JSON, and in words what was not held."""

    figures: dict[str, Any]
    broken: list[str]


def held(answers: Sequence[tuple[float, float]], moments: Sequence[Moment]) -> Held:
    """Sum up `answers` (when, on the monotonic clock, and how many seconds each took) and the `moments` of one run.

    What was answered before the first moment or after the last one is left out. Raises `ValueError` where there is too
    little to tell the thirds apart.
    """
    begun, lasted = moments[0].at, moments[-1].at - moments[0].at
    answers = [(at - begun, took) for at, took in answers if 0 <= at - begun <= lasted]
    thirds = [sum(low <= at / lasted < low + 1 / 3 for at, _ in answers) for low in (0, 2 / 3)]
    if min(thirds) == 0 or len(moments) < 6:
        raise ValueError(f"{len(answers)} answers and {len(moments)} moments tell nothing: run for longer")
    rates = [(a.at - begun, (b.policy - a.policy) / (b.at - a.at)) for a, b in pairwise(moments)]
    first, last = ([rate for at, rate in rates if low <= at / lasted < high] for low, high in ((0, 1 / 3), (2 / 3, 1)))
    ratio, noise = fmean(last) / fmean(first), _noise(first, last)
    cut = quantiles([took for _, took in answers], n=100)
    cpu = {name: moments[-1].parts[name].cpu - taken.cpu for name, taken in moments[0].parts.items()}
    policy, reward = moments[-1].policy - moments[0].policy, moments[-1].reward - moments[0].reward
    figures: dict[str, Any] = {
        "latency_s": {"p50": round(cut[49], 2), "p95": round(cut[94], 2), "p99": round(cut[98], 2)},
        "answers_per_s": round(len(answers) / lasted, 3),
        "policy_tokens_per_s": round(policy / lasted, 1),
        "reward_tokens_per_s": round(reward / lasted, 1),
        "by_minute": {
            "answers_per_s": _answers_by_minute(answers, lasted),
            "policy_tokens_per_s": _by_minute(rates, digits=1),
            "yardstick_ms": _by_minute([(moment.at - begun, moment.yardstick * 1000) for moment in moments], digits=2),
        },
        "last_third_over_first": {
            "tokens": round(ratio, 3),
            "answers": round(thirds[1] / thirds[0], 3),
            "machine": round(_speed(moments[: len(moments) // 3], moments[-(len(moments) // 3) :]), 3),
        },
        "noise": round(noise, 3),
        "memory_mib": {name: _levels(moments, name, lambda taken: taken.memory / 2**20) for name in moments[0].parts},
        "handles": {name: _levels(moments, name, lambda taken: taken.handles) for name in moments[0].parts},
        "cpu_cores": {name: round(seconds / lasted, 3) for name, seconds in cpu.items()},
        "per_answer": {
            "policy_tokens": round(policy / len(answers), 1),
            "reward_tokens": round(reward / len(answers), 1),
            "cpu_ms": {name: round(seconds / len(answers) * 1000, 1) for name, seconds in cpu.items()},
        },
    }
    broken = [] if ratio >= STEADY else [f"the last third wrote {ratio:.3f} times the tokens of the first"]
    return Held(figures, broken + _grown(moments))


def _noise(first: Sequence[float], last: Sequence[float]) -> float:
    """Return the relative standard error of the ratio of the two means; one value alone has none to tell."""
    errors = [stdev(rates) / fmean(rates) / sqrt(len(rates)) for rates in (first, last) if len(rates) > 1]
    return sqrt(sum(error**2 for error in errors))


def _answers_by_minute(answers: Sequence[tuple[float, float]], lasted: float) -> list[float]:
    """Return answers per second, of whole minutes, or of the whole run where it is shorter."""
    whole = max(1, int(lasted // MINUTE_S))
    length = min(MINUTE_S, lasted)
    return [round(sum(n * length <= at < (n + 1) * length for at, _ in answers) / length, 2) for n in range(whole)]


def _by_minute(values: Sequence[tuple[float, float]], digits: int) -> list[float]:
    minutes: dict[int, list[float]] = {}
    for at, value in values:
        minutes.setdefault(int(at // MINUTE_S), []).append(value)
    return [round(fmean(found), digits) for found in minutes.values()]


def _speed(first: Sequence[Moment], last: Sequence[Moment]) -> float:
    """Return the machine's own speed in the last moments, as a share of that in the first ones."""
    return median(moment.yardstick for moment in first) / median(moment.yardstick for moment in last)


def _levels(moments: Sequence[Moment], part: str, of: Callable[[Taken], float]) -> list[float]:
    """Return what a part held at the start, in the middle and at the end."""
    chosen = (moments[0], moments[len(moments) // 2], moments[-1])
    return [round(of(moment.parts[part]), 1) for moment in chosen]


def _grown(moments: Sequence[Moment]) -> list[str]:
    third = len(moments) // 3
    middle, last = moments[third:-third], moments[-third:]
    found = []
    for part in moments[0].parts:
        was, now = (median(moment.parts[part].memory for moment in third) for third in (middle, last))
        if now > was * (1 + MEMORY_NOISE) + MEMORY_SLACK:
            found.append(f"{part} grew from {was / 2**20:.0f} to {now / 2**20:.0f} MiB")
        was, now = (median(moment.parts[part].handles for moment in third) for third in (middle, last))
        if now > was + HANDLES_SLACK:
            found.append(f"{part} held {was:.0f} handles, then {now:.0f}")
    return found
