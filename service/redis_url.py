"""What may stand in the URL of a Redis-protocol server."""

from urllib.parse import parse_qs, urlsplit

_SCHEMES = ("redis", "rediss", "unix")
_TLS = {
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_cert_reqs",
    "ssl_check_hostname",
}
_REQUIRED = {"none", "optional", "required"}


def redis_url_problem(url: str) -> str | None:
    """Return what is wrong with a URL, without a word of its password; `None` where nothing is.

    The client takes any parameter, ignores some and dies of others at its first command: here only those pass that say
    where the server is and how it is to be trusted.
    """
    if not url.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        return "must start with redis://, rediss:// or unix://"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (reading it raises)
    except ValueError:
        return "host and port cannot be read; in a password, write / as %2F, @ as %40, : as %3A"
    if parts.scheme == "unix" and not parts.path:
        return "unix:// must be followed by the path of a socket: unix:///run/redis/redis.sock"
    if parts.scheme != "unix" and not (parts.path.strip("/") or "0").isdigit():
        return "what follows the host must be the number of a database: redis://host:6379/0"
    given = parse_qs(parts.query, keep_blank_values=True)
    known = {"unix": {"db", "password"}, "redis": {"db"}, "rediss": {"db"} | _TLS}[parts.scheme]
    if unknown := sorted(given.keys() - known):
        return f"there is no parameter {unknown[0]!r} for {parts.scheme}://; known: {', '.join(sorted(known))}"
    if not all(number.isdigit() for number in given.get("db", ())):
        return "db must be a number"
    if not set(given.get("ssl_cert_reqs", ())) <= _REQUIRED:
        return f"ssl_cert_reqs must be one of {', '.join(sorted(_REQUIRED))}"
    return None


def redis_url_password(url: str) -> str | None:
    """Return the password in a URL that has no problem, if there is one."""
    parts = urlsplit(url)
    return parts.password or parse_qs(parts.query).get("password", [None])[0]
