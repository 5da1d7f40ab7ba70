"""Two Ray nodes as processes on this machine, with the search workers on both and a gateway in front."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import yaml

from service.stack.ports import free_ports
from service.stack.processes import Pid, session

UP_S = 60.0
REPLICA = "ray::ServeReplica"
SCALING = {"replicas": 1, "max_replicas": 2, "target_searches": 2, "upscale_delay_s": 0, "downscale_delay_s": 0}


class TwoNodes:
    """A cluster that tests may damage. Every process leads a session of its own, which is stopped in the end."""

    def __init__(self, folder: Path, environment: dict[str, str], gateway_url: str) -> None:
        self.folder = folder
        self.environment = environment
        self.gateway_url = gateway_url
        self._started: dict[str, tuple[subprocess.Popen[bytes], Pid]] = {}

    def start(self, name: str, *command: str) -> None:
        """Start a process, with its output in a file of its name."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started[name] = process, Pid.of(process.pid)

    def replicas(self, node: str) -> list[int]:
        """Return the processes of the search workers on a node."""
        return [pid for pid, command in self._commands(node) if command[0].startswith(REPLICA)]

    def raylet(self, node: str) -> int:
        """Return the process that makes a node of `node`."""
        return next(pid for pid, command in self._commands(node) if Path(command[0]).name == "raylet")

    def _commands(self, name: str) -> Iterator[tuple[int, list[str]]]:
        for process in session(self._started[name][1]):
            with contextlib.suppress(psutil.NoSuchProcess):
                yield process.pid, psutil.Process(process.pid).cmdline() or [""]

    def wait(self, there: Callable[[], bool], what: str) -> None:
        """Return when `there` is true; raises `TimeoutError` with the ends of the logs."""
        until = time.monotonic() + UP_S
        while not there():
            if time.monotonic() > until:
                logs = {log.name: log.read_text(errors="replace")[-1500:] for log in self.folder.glob("*.log")}
                raise TimeoutError(f"{what} within {UP_S:g} s: {logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill all of it: there is nothing to be saved."""
        for process, leader in self._started.values():
            while left := session(leader):
                for member in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(member.pid, signal.SIGKILL)
                time.sleep(0.05)
            process.wait()


@contextlib.contextmanager
def two_nodes(engine_url: str) -> Iterator[TwoNodes]:
    """Start the cluster with room for one worker on each node, and take it down."""
    folder = Path(tempfile.mkdtemp(prefix="mull-"))  # short: the path of a socket has at most 107 bytes
    ports = free_ports()
    port, client, gateway = next(ports), next(ports), next(ports)
    settings = {
        "policies": {"p": {"model": "slow", "url": engine_url, "slots": 64}},
        "models": {"slow": {"policy": "p"}},
        "redis": {"enabled": False},
        "ray": {"address": f"127.0.0.1:{port}", "cpus_per_replica": 1, **SCALING},
        "gateway": {"port": gateway},
        "limits": {"deadline_ms": 30_000},
        "state_dir": str(folder / "state"),
    }
    (folder / "mull.yaml").write_text(yaml.safe_dump(settings))
    (folder / "token").write_text(secrets.token_hex(32))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MULL_")} | {
        "MULL_CONFIG": str(folder / "mull.yaml"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",
        # What scaling goes by, at the pace of a test.
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
        "PYTHONUNBUFFERED": "1",
    }
    nodes = TwoNodes(folder, environment, f"http://127.0.0.1:{gateway}")
    common = ["--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--object-store-memory", "100000000", "--block"]
    common += ["--dashboard-agent-listen-port"]
    ray_command = (sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats")
    try:
        head = ["--head", "--port", str(port), "--ray-client-server-port", str(client), "--temp-dir", str(folder)]
        nodes.start("head", *ray_command, *head, "--include-dashboard", "false", *common, str(next(ports)))
        nodes.wait(lambda: _says(folder / "head.log", "Ray runtime started"), "the head did not start")
        nodes.start("second", *ray_command, "--address", f"127.0.0.1:{port}", *common, str(next(ports)))
        nodes.wait(lambda: _says(folder / "second.log", "Ray runtime started"), "the second node did not start")
        ready = folder / "workers-ready"
        nodes.start("workers", sys.executable, "-m", "service.stack.workers", "--ready-file", str(ready))
        nodes.start("gateway", *_gateway(gateway))
        nodes.wait(ready.exists, "the workers did not start")
        nodes.wait(lambda: _answers(nodes.gateway_url), "the gateway did not start")
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _gateway(port: int) -> tuple[str, ...]:
    return sys.executable, "-m", "service.gateway", "--host", "127.0.0.1", "--port", str(port)


def _says(log: Path, text: str) -> bool:
    return log.is_file() and text in log.read_text(errors="replace")


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=5).status_code == httpx.codes.OK
    return False
