"""HTTP/1.1 as uvicorn reads it, with bounds on what comes before a body and after an answer, and with our errors."""

import asyncio
import json
from asyncio.events import TimerHandle

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import HeadersTooLarge, InvalidRequest, MullError, RequestTimeout

HEADER_BYTES = 65_536
"""Of a request line with its headers."""
HEADER_S = 10.0
"""Longest that a request's headers may take to arrive."""
REST_S = 5.0
"""Longest that the rest of a body may take to arrive once its request has been answered."""


class Protocol(HttpToolsProtocol):
    """One connection. What is no HTTP, too long or too slow is refused in our own words, and the connection closed."""

    _timer: TimerHandle | None = None
    _header_bytes = 0
    _reading_headers = False
    _refusal: MullError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close a connection on which nothing comes."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; headers without end are refused before they fill the memory."""
        begun = self.scope if self._reading_headers else None
        super().data_received(data)
        if begun is not None and self._reading_headers and self.scope is begun:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._refuse(_too_large())

    def on_message_begin(self) -> None:
        """Give the headers their time."""
        super().on_message_begin()
        self._reading_headers = True
        self._header_bytes = 0
        self._stop_timer()
        self._timer = self.loop.call_later(HEADER_S, self._refuse, _too_slow())

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._reading_headers = False
        self._stop_timer()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES:
            self._refusal = _too_large()
            raise self._refusal
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that nobody reads any more, but not for ever."""
        unread = not self.pipeline and self.cycle.more_body
        super().on_response_complete()
        if unread and not self.transport.is_closing():
            self._timer = self.loop.call_later(REST_S, self.transport.close)

    def on_message_complete(self) -> None:
        """Stop waiting for the rest."""
        self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be read."""
        self._refuse(self._refusal or InvalidRequest(msg, hint="Send HTTP/1.1."))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: MullError) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        body = json.dumps(error.to_body()).encode()
        head = STATUS_LINE[error.status] + b"content-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"The headers are longer than {HEADER_BYTES} bytes.", hint="Shorten them.")


def _too_slow() -> RequestTimeout:
    return RequestTimeout(f"The headers have not arrived within {HEADER_S:g} s.", hint="Send them faster.")
