"""A second gateway beside that of `mull up`, kept up as that one is: one that ends is started again."""

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from service.stack.processes import Pid, stop

GRACE_S = 10.0
PAUSE_S = 1.0


class KeptGateway:
    """One that listens on `port` of the loopback; what it says goes to a file."""

    def __init__(self, port: int, environment: Mapping[str, str], log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "service.gateway", "--host", "127.0.0.1", "--port", str(port)]
        self._environment = environment
        self._log = log
        self._stopped = threading.Event()
        self._running, self._process = self._start()
        self._keeper = threading.Thread(target=self._keep)
        self._keeper.start()

    @property
    def process(self) -> Pid:
        """The one that was started last."""
        return self._process

    def stop(self) -> None:
        """Stop it for good."""
        self._stopped.set()
        while self._keeper.is_alive():  # it may just be starting another one
            stop(self._process, GRACE_S)
            self._keeper.join(PAUSE_S)

    def _keep(self) -> None:
        while True:
            self._running.wait()
            if self._stopped.wait(PAUSE_S):
                return
            self._running, self._process = self._start()

    def _start(self) -> tuple[subprocess.Popen[bytes], Pid]:
        with self._log.open("ab") as log:
            running = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return running, Pid.of(running.pid)
