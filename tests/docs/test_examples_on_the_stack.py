"""Every example in the README and the docs is one that works: requests and Python, on the running stack."""

import ast
import inspect
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from examples import Example, blocks, commands

pytestmark = pytest.mark.stack

LIMIT_S = 120
NOT_RUN: dict[str, str] = {}
"""Requests that cannot be sent to the test's stack: a part of their text, and why."""


def here(text: str, stack: Any) -> str:
    """Return an example with the addresses of the stack in place of those that a reader has."""
    for address, url in {
        "http://127.0.0.1:8080": stack.gateway_url,
        "http://127.0.0.1:8000": stack.policy_url,
        "http://127.0.0.1:8001": stack.reward_url,
    }.items():
        text = text.replace(address, url)
    return text


@pytest.mark.parametrize("command", [c for c in commands() if c.text.startswith("curl ")], ids=str)
def test_request_is_answered(command: Example, stack: Any) -> None:
    """What curl brings has status 200, and is JSON or a stream of server-sent events."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for part, reason in NOT_RUN.items():
        if part in command.text:
            pytest.skip(reason)
    asked = here(command.text, stack).replace("curl ", "curl --fail-with-body --silent --show-error ", 1)
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    if done.stdout.startswith(("data:", ":", "event:")):
        assert done.stdout.rstrip().endswith("data: [DONE]")
    elif "/metrics" not in command.text:
        json.loads(done.stdout)


def test_every_excuse_is_needed() -> None:
    """What is not run is there."""
    assert [part for part in NOT_RUN if not any(part in command.text for command in commands())] == []


@pytest.mark.parametrize("page", sorted({b.page for b in blocks("python")}), ids=lambda page: page.name)
async def test_python_runs(page: Path, stack: Any) -> None:
    """The Python of a page runs from top to bottom, as in one session."""
    session: dict[str, Any] = {}
    for block in blocks("python"):
        if block.page == page:
            source = "\n" * (block.line - 1) + here(block.text, stack)
            code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, session)
            if inspect.iscoroutine(running):
                await running
