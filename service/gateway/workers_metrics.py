"""The workers' metrics, passed on: this machine's Ray tells them on 127.0.0.1, out of Prometheus' reach."""

import aiohttp

from service.errors import EngineUnavailable
from service.settings import RaySettings

ANSWER_S = 5.0


async def workers_metrics(ray: RaySettings) -> bytes:
    """Return them in Prometheus' text format.

    Raises `EngineUnavailable` where the agent does not answer, or where it is not known which port it has: the nodes of
    a cluster that `mull up` has not started are asked themselves.
    """
    if ray.metrics_port is None:
        raise EngineUnavailable(
            "It is not known where the workers' metrics are.",
            hint="Point Prometheus to the nodes of the Ray cluster, or set ray.metrics_port.",
        )
    url = f"http://127.0.0.1:{ray.metrics_port}/metrics"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S), raise_for_status=True) as session,
            session.get(url) as response,
        ):
            return await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineUnavailable(
            f"The agent that tells the workers' metrics does not answer ({type(error).__name__}).",
            hint="The workers may be starting.",
        ) from None
