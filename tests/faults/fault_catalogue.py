"""Every fault: what is done, and what clients may see of it. One entry is one fault; the rest is common to all."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from engine_proxy import Trouble
from faulty_stack import FaultyStack
from traffic import BEST, GONE, LOST, OK, STREAMS, Seen

Do = Callable[[FaultyStack], None]
Outcomes = frozenset[str]

ANSWERED: Outcomes = frozenset({OK, BEST})
DOWN: Outcomes = ANSWERED | {"EngineUnavailable"}
BROKEN: Outcomes = DOWN | {"EngineError"}
SILENT: Outcomes = DOWN | {"EngineTimeout", "NoAnswer"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    It comes when searches are under way where `mid_search`, else before the requests are sent, and is healed after
    `hold_s` seconds, or when every request has ended. `direct` and `jobs` are what may come of requests and of jobs;
    where it differs, `told` is what may come of streams, which may have told something already, and `spared` what may
    come of requests to the second gateway. `deadline_s` is the requests'. `short`: part of the short list.
    """

    name: str
    inject: Do
    direct: Outcomes
    jobs: Outcomes = frozenset({OK})
    told: Outcomes | None = None
    spared: Outcomes | None = None
    heal: Do = FaultyStack.heal
    mid_search: bool = True
    hold_s: float | None = None
    deadline_s: float = 8.0
    back_within_s: float = 15.0
    short: bool = False

    def allowed(self, one: Seen) -> Outcomes:
        """Return what may come of a request."""
        if self.spared is not None and one.gateway == 1:
            return self.spared
        return self.told if self.told is not None and one.kind in STREAMS else self.direct

    def __str__(self) -> str:
        return self.name


def _policy(trouble: Trouble) -> Do:
    return lambda stack: stack.policy.suffer(trouble)


def _stop_slowly(stack: FaultyStack) -> None:
    stack.policy.suffer(Trouble("slow", delay_s=0.1))
    stack.stop_gateway()


def _reward(trouble: Trouble) -> Do:
    return lambda stack: stack.reward.suffer(trouble)


def _signal(role: str, number: signal.Signals) -> Do:
    return lambda stack: stack.signal_engine(role, number)


def _real_engine(name: str, role: str) -> list[Fault]:
    """Return what is done to the real server, which takes its time to come back."""
    killed = Fault(f"{name} killed", _signal(role, signal.SIGKILL), DOWN, back_within_s=200)
    stopped = Fault(
        f"{name} stopped",
        _signal(role, signal.SIGSTOP),
        SILENT,
        heal=_signal(role, signal.SIGCONT),
        deadline_s=6.0,
    )
    return [killed, stopped]


def _engine(name: str, of: Callable[[Trouble], Do], hold_s: float | None = None) -> list[Fault]:
    """Return what can be wrong with an engine that is not ours to kill: behind a proxy it looks the same.

    `hold_s`: how long one that answers wrongly does so.
    """
    return [
        Fault(f"{name} gone", of(Trouble("refuse")), DOWN, short=True),
        Fault(f"{name} hangs", of(Trouble("hang")), SILENT, deadline_s=4.0, short=True),
        Fault(f"{name} slow", of(Trouble("slow", delay_s=0.3)), SILENT, deadline_s=4.0, short=True),
        Fault(f"{name} answers 500", of(Trouble("fail")), BROKEN, mid_search=False, hold_s=hold_s, short=True),
        Fault(f"{name} answers rubbish", of(Trouble("lie")), BROKEN, mid_search=False, hold_s=hold_s, short=True),
        Fault(f"{name} breaks off", of(Trouble("cut")), BROKEN, mid_search=False, hold_s=hold_s, short=True),
    ]


NO_JOBS: Outcomes = frozenset({"JobsUnavailable"})

FAULTS: list[Fault] = [
    Fault(
        "search worker killed",
        FaultyStack.kill_worker,
        ANSWERED,
        told=DOWN,
        back_within_s=60,
        short=True,
    ),
    Fault(
        "gateway killed",
        FaultyStack.kill_gateway,
        ANSWERED | {LOST},
        spared=ANSWERED,
        back_within_s=60,
        short=True,
    ),
    # Slow, so that it has more to do than Ray would give it: see docs/log.md.
    Fault("gateway told to stop", _stop_slowly, SILENT, short=True),
    *_engine("policy", _policy, hold_s=1.0),  # all of a search's first requests are made at once
    *_engine("reward model", _reward),
    *_real_engine("policy", "policy"),
    *_real_engine("reward model", "reward"),
    Fault("Redis killed", lambda stack: stack.redis.kill(), ANSWERED, short=True),
    Fault("Redis hangs", lambda stack: stack.redis.hang(), ANSWERED, short=True),
    Fault("Redis slow", lambda stack: stack.redis.stutter(0.06, 0.01), ANSWERED, short=True),
    Fault("Redis read-only", lambda stack: stack.redis.be_read_only(), ANSWERED, short=True),
    Fault(
        "Redis restarted empty", lambda stack: stack.redis.forget(), ANSWERED, jobs=frozenset({OK, GONE}), short=True
    ),
    Fault(
        "Redis gone before a job comes",
        lambda stack: stack.redis.kill(),
        ANSWERED | NO_JOBS,
        mid_search=False,
    ),
    Fault("Ray's GCS killed", FaultyStack.kill_gcs, DOWN | {LOST}, back_within_s=150),
    # A second gateway asks again, of workers that are back only after the deadline.
    Fault("Ray killed", FaultyStack.kill_ray, DOWN | {LOST, "NoAnswer"}, back_within_s=150),
]
