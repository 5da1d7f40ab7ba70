"""vLLM servers of a benchmark's own, as `mull up` would start them, and stopped with it."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from service.errors import StackError
from service.settings import Engine
from service.stack.engine import detect_profile, engine_command, engine_environment
from service.stack.ports import free_ports
from service.stack.processes import Pid, stop

START_LIMIT_S = 300.0
GRACE_S = 10.0
_DEVELOPER = {"VLLM_SERVER_DEV_MODE": "1"}
"""Lets vLLM forget its prefix cache when it is told to."""


@contextmanager
def servers(engines: Sequence[Engine]) -> Iterator[list[str]]:
    """Start a server for each, and return their URLs when all of them answer; raises `StackError` if one does not."""
    ports, profile = free_ports(), detect_profile()
    with ExitStack() as started:
        urls, waiting = [], []
        for engine in engines:
            port = next(ports)
            url = f"http://127.0.0.1:{port}"
            command = engine_command(engine, port=port, profile=profile, on_card=len(engines))
            environment = os.environ | dict(engine_environment(engine, profile)) | _DEVELOPER
            log = started.enter_context(tempfile.NamedTemporaryFile(suffix=".log"))
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            started.callback(process.wait)
            started.callback(stop, Pid.of(process.pid), GRACE_S)
            urls.append(url)
            waiting.append((url, process, Path(log.name)))
            if profile == "gpu":  # two that start at once on one card each take the other's memory for free
                _wait(*waiting.pop())
        for one in waiting:
            _wait(*one)
        yield urls


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise StackError(f"The server at {url} did not start:\n{log.read_text()[-2000:]}")


def forget_prefixes(urls: Sequence[str]) -> None:
    """Empty the prefix caches; raises `httpx.HTTPStatusError`."""
    for url in urls:
        httpx.post(f"{url}/reset_prefix_cache", timeout=30).raise_for_status()
