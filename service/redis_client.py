"""The one way to make a client of Redis from its settings."""

import os

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from service.settings import RedisSettings


def redis_client(settings: RedisSettings, *, text: bool = False) -> Redis | None:
    """Return a client with connections of its own; `None` where Redis is off: no `url`, or `enabled: false`.

    It opens no connection yet, tries nothing twice and waits for ever: time is kept by whoever asks. Cancelling a
    command closes its connection, so that a late reply never answers another command. `text`: replies are `str` and
    not `bytes`.
    """
    if not settings.enabled or settings.url is None:
        return None
    pool = ConnectionPool.from_url(
        settings.url.get_secret_value(),
        **_credentials(settings),
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        protocol=2,
        driver_info=None,  # a round trip less for each new connection
        decode_responses=text,
    )
    return Redis.from_pool(pool)


def _credentials(settings: RedisSettings) -> dict[str, str]:
    """Return the password that the URL does not hold. The URL's own, where it has one, comes first."""
    password = os.environ.get(settings.password_env) if settings.password_env else None
    return {"password": password} if password else {}
