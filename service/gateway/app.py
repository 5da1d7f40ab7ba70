"""The gateway's composition root: `uvicorn --factory service.gateway.app:create_app`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI

from service.cache import ResultCache
from service.errors import EngineUnavailable
from service.gateway.access import Access, log_to_stderr
from service.gateway.endpoints import endpoints
from service.gateway.failures import handle_failures
from service.gateway.openapi import describe
from service.gateway.readiness import Readiness
from service.gateway.searching import Gateway
from service.gateway.workers import RayWorkers, Workers
from service.metrics import Metrics
from service.settings import Settings
from service.settings_file import load_settings


def create_app(settings: Settings | None = None, workers: Workers | None = None) -> FastAPI:
    """Return the gateway.

    Without `settings` they are read from the file that MULL_CONFIG names; without `workers` the searches run in the
    Ray Serve application at `settings.ray.address`. Raises `ConfigError`.
    """
    log_to_stderr()
    settings = settings or load_settings()
    workers = workers or RayWorkers(settings.ray.address)
    gateway = Gateway(settings, workers, ResultCache(settings), Metrics(), Readiness(workers))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        connecting = asyncio.create_task(_connect(workers))
        yield
        connecting.cancel()
        await gateway.cache.aclose()

    app = FastAPI(
        title="Mull",
        version=version("mull"),
        description="Answers math questions by searching, under a budget that the caller sets.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.include_router(endpoints(gateway))
    app.add_middleware(Access, metrics=gateway.metrics)
    app.openapi = describe(app)  # type: ignore[method-assign]
    handle_failures(app)
    return app


async def _connect(workers: Workers) -> None:
    """Connect before the first request comes; where that fails, the first request tries again."""
    if isinstance(workers, RayWorkers):
        with contextlib.suppress(EngineUnavailable):
            await workers.connect()
