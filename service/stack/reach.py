"""Whether search workers on other machines reach what the settings name."""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from service.errors import StackError
from service.settings import Settings


def check_reach(settings: Settings, nodes: Collection[str]) -> list[str]:
    """Return what only some of the workers would reach, though they can do without: Redis. `nodes` are IP addresses.

    Raises `StackError` for engines: searches on another machine would fail, now and then, for no reason to be seen.
    """
    if len({node for node in nodes if not _is_loopback(node)}) < 2:
        return []
    engines = [*settings.policies.values(), *settings.reward_models.values()]
    near = [f"{engine.title} at {url}" for engine in engines for url in engine.urls if _is_loopback(url.host or "")]
    if near:
        raise StackError(
            f"The Ray cluster has {len(nodes)} nodes, and only one of them reaches {', '.join(near)}.",
            hint="Give engines an address that all nodes reach, or leave ray.address out to stay on this machine.",
        )
    redis = settings.redis.url.get_secret_value() if settings.redis.enabled and settings.redis.url else None
    if redis is not None and (redis.startswith("unix:") or _is_loopback(urlsplit(redis).hostname or "localhost")):
        return ["Redis is reached from one node of the Ray cluster only: workers on others share no scores."]
    return []


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
