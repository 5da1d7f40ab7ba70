"""A stack of which every part can be broken: workers and two gateways of its own, on engines behind proxies."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from engine_proxy import EngineProxy
from kept_gateway import KeptGateway
from own_redis import OwnRedis

from service.stack.ports import free_ports
from service.stack.processes import Pid, session
from service.stack.state import State, StateDir

CONFIG = Path(__file__).parents[2] / "mull.yaml"
REPLICAS = 2
"""Search workers: when one is killed, its searches go to the other."""
DRAIN_S = 30
UP_S = 60.0
_SECOND = "second gateway"
_WORKER = "ray::ServeReplica"


class FaultyStack:
    """What can be broken, and where it is reached. `gateways` are the URLs of two on one Redis and one Ray.

    The first gateway and the workers are those of `mull up`, the second gateway is ours; what ends is started again.
    """

    def __init__(
        self, policy: EngineProxy, reward: EngineProxy, redis: OwnRedis, folder: Path, engines: Callable[[], State]
    ) -> None:
        """`engines` is the state of the stack that runs the real engines, behind the proxies."""
        self.policy = policy
        self.reward = reward
        self.redis = redis
        self._engines = engines
        self._restarting: dict[str, Pid] = {}
        self._dir = StateDir(folder / "state")
        self._log = folder / "second-gateway.log"
        self._second: KeptGateway | None = None

    @property
    def state(self) -> State:
        """What `mull up` has written down last."""
        state = self._dir.load()
        assert state is not None
        return state

    @property
    def gateways(self) -> tuple[str, str]:
        """The gateways' roots."""
        return self.state.url, self.second.url

    @property
    def second(self) -> KeptGateway:
        """The second gateway, which must have been started."""
        assert self._second is not None
        return self._second

    def processes(self) -> dict[str, psutil.Process]:
        """Return the processes that live, by what they are: gateways and search workers."""
        found = {"gateway 1": self.state.part("gateway").process.pid, "gateway 2": self.second.process.pid}
        found |= {f"worker {number}": pid for number, pid in enumerate(self.worker_pids(), 1)}
        return {role: psutil.Process(pid) for role, pid in found.items() if psutil.pid_exists(pid)}

    def worker_pids(self) -> list[int]:
        """Return the processes of the search workers, oldest first."""
        members = session(self.state.part("workers").process)
        return [process.pid for process in sorted(members, key=lambda p: p.create_time) if _is_worker(process)]

    def kill_worker(self) -> None:
        """Kill one search worker."""
        os.kill(self.worker_pids()[0], signal.SIGKILL)

    def kill_gateway(self) -> None:
        """Kill the gateway that `mull up` looks after."""
        self._kill("gateway", lambda _: True)

    def stop_gateway(self) -> None:
        """Tell the gateway that `mull up` looks after to end."""
        process = self._restarting["gateway"] = self._process("gateway")
        os.kill(process.pid, signal.SIGTERM)

    def kill_gcs(self) -> None:
        """Kill the process of Ray's head that knows where everything is."""
        self._kill("workers", lambda process: Path(_command(process)[0]).name == "gcs_server")
        self._expect_new_gateways()

    def kill_ray(self) -> None:
        """Kill all of Ray: its head, and every search worker."""
        self._kill("workers", lambda _: True)
        self._expect_new_gateways()

    def _expect_new_gateways(self) -> None:
        """A gateway ends with its Ray cluster."""
        for name in ("gateway", _SECOND):
            self._restarting[name] = self._process(name)

    def _kill(self, part: str, which: Callable[[Pid], bool]) -> None:
        leader = self._restarting[part] = self._process(part)
        killed = [process for process in session(leader) if which(process)]
        assert killed, f"there is nothing to kill in {part}"
        for process in killed:
            with suppress(ProcessLookupError):  # one that ends when another one does
                os.kill(process.pid, signal.SIGKILL)

    def is_whole(self) -> bool:
        """Whether all that was killed, or ended with what was, has been started again."""
        again = [name for name, old in self._restarting.items() if self._is_new(name, old)]
        for name in again:
            del self._restarting[name]
        return not self._restarting

    def _is_new(self, part: str, old: Pid) -> bool:
        process = self._process(part)
        return process != old and process.alive()

    def _process(self, part: str) -> Pid:
        return self.second.process if part == _SECOND else self.state.part(part).process

    def signal_engine(self, role: str, number: signal.Signals) -> None:
        """Send a signal to the real "policy" or "reward" server; killed, it is started again by its own stack."""
        os.kill(self._engines().part(role).process.pid, number)

    def start_second_gateway(self) -> None:
        """Start it with what the first one was given: the stack's settings, and the token of its Ray."""
        environment = psutil.Process(self.state.part("gateway").process.pid).environ()
        self._second = KeptGateway(next(free_ports()), environment, self._log)
        _until(lambda: _is_ready(self.second.url), UP_S, "the second gateway is not ready")

    def stop_second_gateway(self) -> None:
        """Stop it, if it was started."""
        if self._second is not None:
            self._second.stop()

    def in_flight(self) -> float:
        """Return how many searches the gateways wait for; raises `httpx.HTTPError` where one does not answer."""
        return sum(gauge(url, "mull_searches_in_flight{") for url in self.gateways)

    def heal(self) -> None:
        """Take every trouble away. What was killed and is not ours comes back by itself."""
        self.policy.recover()
        self.reward.recover()
        self.redis.heal()


@contextmanager
def faulty_stack(engines: Callable[[], State], folder: Path, run_mull: Callable[..., str]) -> Iterator[FaultyStack]:
    """Start a stack on engines that run, and take it down; raises where a part does not start."""
    with ExitStack() as parts:
        policy, reward = (parts.enter_context(EngineProxy(engines().part(role).url)) for role in ("policy", "reward"))
        redis = parts.enter_context(OwnRedis(folder / "redis"))
        environment = _environment(policy, reward, redis, folder)
        stack = FaultyStack(policy, reward, redis, folder, engines)
        parts.callback(run_mull, "down", environment=environment)
        run_mull("up", "--detach", environment=environment)
        parts.callback(stack.stop_second_gateway)
        stack.start_second_gateway()
        yield stack
        stack.heal()


def gauge(url: str, *names: str) -> float:
    """Return the sum of what `/metrics` says under these names."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))


def _environment(policy: EngineProxy, reward: EngineProxy, redis: OwnRedis, folder: Path) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MULL_")} | {
        "MULL_CONFIG": str(CONFIG),
        "MULL_STATE_DIR": str(folder / "state"),
        "MULL_GATEWAY__PORT": str(next(free_ports())),
        "MULL_POLICIES__TINY_POLICY__URL": policy.url,
        "MULL_REWARD_MODELS__TINY_PRM__URL": reward.url,
        "MULL_REDIS__URL": redis.url,
        "MULL_GATEWAY__DRAIN_S": str(DRAIN_S),
        "MULL_RAY__REPLICAS": str(REPLICAS),
        "MULL_JOBS__LEASE_S": "3",
    }


def _is_worker(process: Pid) -> bool:
    return _command(process)[0].startswith(_WORKER)


def _command(process: Pid) -> list[str]:
    try:
        return psutil.Process(process.pid).cmdline() or [""]
    except psutil.Error:
        return [""]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=UP_S).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _until(there: Callable[[], bool], limit_s: float, otherwise: str) -> None:
    due = time.monotonic() + limit_s
    while not there():
        if time.monotonic() > due:
            raise TimeoutError(f"{otherwise} after {limit_s:g} s")
        time.sleep(0.1)
