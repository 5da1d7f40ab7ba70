"""The gateway's composition root: `python -m service.gateway` serves it."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI

from service.cache import ResultCache
from service.doors.doors import Doors
from service.doors.metrics import DoorsCollector
from service.errors import EngineUnavailable
from service.flight_locks import FlightLocks
from service.flights import Flights
from service.gateway.access import Access
from service.gateway.allowed import Allowed
from service.gateway.doorkeeper import Doorkeeper, allow_origins
from service.gateway.endpoints import endpoints
from service.gateway.failures import handle_failures
from service.gateway.openapi import describe
from service.gateway.readiness import Readiness
from service.gateway.responses import Responses
from service.gateway.searching import Gateway
from service.gateway.traces import trace_endpoints
from service.gateway.workers import RayWorkers, Workers
from service.log_lines import log_to_stderr
from service.metrics import Metrics
from service.redis_allowance import GATEWAY_SHARE
from service.redis_link import RedisLink
from service.redis_metrics import RedisCollector
from service.settings import Settings
from service.settings_file import load_settings
from service.trace_store import TraceStore
from service.tracing.start import tracing_for

FAREWELL_S = 5.0
"""How long open requests go on in a gateway that has lost its Ray cluster."""


def create_app(settings: Settings | None = None, workers: Workers | None = None) -> FastAPI:
    """Return the gateway.

    Without `settings` they are read from the file that MULL_CONFIG names; without `workers` the searches run in the
    Ray Serve application at `settings.ray.address`. Raises `ConfigError`.
    """
    log_to_stderr()
    settings = settings or load_settings()
    workers = workers or RayWorkers(settings.ray.address, on_gone=_end)
    tracing = tracing_for(settings.tracing, "gateway")
    link = RedisLink(settings.redis)
    traces = TraceStore(settings.redis, link)
    cache, doors, metrics = ResultCache(settings, link), Doors(settings, link), Metrics()
    flights = Flights(FlightLocks(link), settings.redis.max_value_bytes)
    metrics.add(RedisCollector(link))
    metrics.add(DoorsCollector(doors))
    gateway = Gateway(settings, workers, cache, flights, metrics, Readiness(workers), traces, doors, tracing=tracing)

    responses = Responses(gateway)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        connecting = asyncio.create_task(_connect(workers))
        async with responses.running():
            yield
        connecting.cancel()
        await responses.aclose()
        await flights.aclose()
        if isinstance(workers, RayWorkers):
            await workers.aclose()
        await gateway.doors.aclose()
        await link.aclose()
        if tracing is not None:
            await tracing.aclose()

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
    app.include_router(responses.router())
    app.include_router(trace_endpoints(traces))
    # The last one is the outermost: a web page reads our refusals too, and every request has an id.
    app.add_middleware(Doorkeeper, doors=gateway.doors)
    if settings.doors.cors_origins:
        allow_origins(app, settings.doors.cors_origins)
    app.add_middleware(Allowed, redis_s=GATEWAY_SHARE * settings.redis.timeout_ms / 1000)
    app.add_middleware(Access, metrics=gateway.metrics, tracing=tracing)
    app.openapi = describe(app)  # type: ignore[method-assign]
    handle_failures(app)
    return app


async def _connect(workers: Workers) -> None:
    """Connect before the first request comes; where that fails, the first request tries again."""
    if isinstance(workers, RayWorkers):
        with contextlib.suppress(EngineUnavailable):
            await workers.connect()


def _end() -> None:
    """End this process as whoever started it would, and soon: it takes no request any more, and a new one will."""
    signal.raise_signal(signal.SIGTERM)
    # Who waits longer than that does so for what does not need this gateway, such as the events of a job.
    asyncio.get_running_loop().call_later(FAREWELL_S, signal.raise_signal, signal.SIGINT)
