"""One process that imports vLLM and then forks a server for each command it is sent: the import takes half a minute.

What runs is `python -m MODULE ARGUMENTS` all the same; a server's engine, which vLLM would start with an import of its
own on a CPU, is forked as well.
"""

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from service.stack.engine import detect_profile
from service.stack.processes import Pid, stop

# What servers would import while they start.
IMPORTS = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.models.mistral",
    "vllm.model_executor.models.qwen2_rm",
    "vllm.model_executor.models.adapters",
)
STOP_S = 10.0


class Nursery:
    """The process, seen from the tests. `environment` is that of all its servers."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nursery"],
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, command: Sequence[str], log: Path) -> Pid:
        """Start a server, `python -m MODULE ARGUMENTS`, whose output goes to `log`."""
        _, _, *argv = command
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"argv": argv, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline()
        assert told, "vLLM could not be imported: what it said is among the errors"
        return Pid.of(int(told))

    def stop(self, server: Pid) -> None:
        """Stop a server and all that it started."""
        stop(server, STOP_S)

    def close(self) -> None:
        """End the process, and with it what was not stopped."""
        self._process.communicate()


def _fork(argv: Sequence[str], log: str) -> int:
    if pid := os.fork():
        return pid
    os.setsid()
    # The children of a server are its own to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = list(argv)
    try:
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        os._exit(0)


def _fork_rather_than_spawn() -> None:
    """Let a server's engine, and its look at a model's class, not import vLLM anew, as on a CPU they would."""
    get_context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: get_context("fork")  # type: ignore[assignment]
    registry = import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda look: look()


def main() -> None:
    """Fork a server for each line of standard input, tell its process id, and stop what is left at the end of it.

    The end comes also when the tests are killed.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM logs is no process id
    for module in IMPORTS:
        import_module(module)
    if detect_profile() == "cpu":
        import_module("vllm.v1.worker.cpu_worker")
        _fork_rather_than_spawn()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    servers = []
    for line in sys.stdin:
        servers.append(Pid.of(_fork(**json.loads(line))))
        print(servers[-1].pid, file=replies, flush=True)
    for server in servers:
        stop(server, STOP_S)


if __name__ == "__main__":
    main()
