from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest


@pytest.fixture
async def at_end() -> AsyncIterator[AsyncExitStack]:
    """What is put on it is closed after the test: servers first in, last out."""
    async with AsyncExitStack() as stack:
        yield stack
