"""Whether a request must show a key, and whose it is."""

import ipaddress
import logging
import os
from collections.abc import Mapping

from service.doors.keys import Key, KeyFile, find, key_file
from service.errors import ConfigError, InvalidApiKey
from service.settings import Settings

_HINT = "Send `Authorization: Bearer <key>`; the operator makes one with `mull keys add`."
_log = logging.getLogger("mull.doors")


class Guard:
    """Knows the keys, and reads their file again whenever it has changed.

    Keys are asked for where there are any. Where there are none, only this machine is served, unless `doors.open` says
    otherwise; and a gateway that has once seen a key asks for keys until it ends, so that a file which has gone
    missing opens nothing.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigError` where others could reach a gateway that asks for no keys and does not say so."""
        self._file = key_file(settings)
        self._open = settings.doors.open
        check_exposure(settings)
        self._seen = _stamp(self._file)
        self._keys = self._file.load()
        self._locked = bool(self._keys)

    def caller(self, authorization: str | None, address: str | None) -> Key | None:
        """Return the key in a request's `authorization` header; `None` where none is asked for.

        `address` is the one of this machine at which the request came in. Raises `InvalidApiKey`.
        """
        self._reload()
        if not self._locked:
            if self._open or not _is_outside(address):
                return None
            raise InvalidApiKey("This gateway has no keys yet, and serves its own machine only.", hint=_HINT)
        scheme, _, secret = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise InvalidApiKey("An API key is needed.", hint=_HINT)
        key = find(self._keys, secret.strip())
        if key is None:
            raise InvalidApiKey("This API key is not known.", hint=_HINT)
        return key

    def named(self, name: str) -> Key | None:
        """Return the key of that name, if there is one (any more)."""
        self._reload()
        return self._keys.get(name)

    def _reload(self) -> None:
        stamp = _stamp(self._file)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = self._file.load()
        except ConfigError as error:
            _log.error("going on with the keys read before: %s", error.message)
        self._locked |= bool(self._keys)


def check_exposure(settings: Settings) -> None:
    """Raise `ConfigError` where the gateway would serve others than this machine without keys, and nobody said so.

    Also where somebody did, yet there are keys: one of the two is a mistake.
    """
    file, host = key_file(settings), settings.gateway.host
    keys = file.load()
    if keys and settings.doors.open:
        problem = f"doors.open is true, yet {file.path} holds keys ({', '.join(keys)}): take one of them away"
        raise ConfigError("doors", [problem])
    if not keys and not settings.doors.open and not is_loopback(host):
        raise ConfigError(
            "gateway.host",
            [
                f"{host or 'every address'} can be reached by other machines, and there are no API keys. Make one: "
                "`mull keys add NAME`; or say that everybody may come in: doors.open: true (MULL_DOORS__OPEN=true)"
            ],
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`. Of names only `localhost` is sure to be this machine."""
    try:
        return _is_loopback_address(host)
    except ValueError:
        return host == "localhost"


def _is_outside(address: str | None) -> bool:
    """Tell whether a request came in at an address that others can reach; a socket in the file system is none."""
    try:
        return address is not None and not _is_loopback_address(address)
    except ValueError:
        return False


def _is_loopback_address(address: str) -> bool:
    parsed = ipaddress.ip_address(address.strip("[]"))
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _stamp(file: KeyFile) -> Mapping[str, int] | None:
    try:
        found = os.stat(file.path)
    except OSError:
        return None
    return {"mtime": found.st_mtime_ns, "size": found.st_size, "inode": found.st_ino}
