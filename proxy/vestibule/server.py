"""uvicorn as a library, with settings that a gateway needs.

httptools (llhttp) is pinned: it refuses what request smuggling lives on, and is several times faster than h11; what it
lets through (missing or repeated Host) the dispatcher checks. `proxy_headers` is off: X-Forwarded-* is never believed.
"""

import asyncio
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

GRACE_SECONDS = 20
"""How long open requests may go on after SIGTERM."""
HEAD_BYTES = 65_536
"""Request line and headers of one request."""
HEAD_SECONDS = 10
"""From a connection or the first byte of a request to the end of its headers."""


class Http(HttpToolsProtocol):
    """Bounds what uvicorn does not: the size of a request's head, and the time that it may take."""

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._stop_clock()
        if not self.url.startswith((b"/", b"*")):
            # absolute-form (RFC 9112 §3.2.2) names a host beside the Host header, and the two may differ
            raise ValueError("the target is not in origin-form")
        super().on_headers_complete()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._head_bytes = 0
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, b"408 Request Timeout")

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes) -> None:
        self._stop_clock()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


def server(app: Any, host: str, port: int, *, lifespan: bool = True) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Http,
        ws="none",
        loop="asyncio",
        lifespan="on" if lifespan else "off",
        proxy_headers=False,
        server_header=False,
        date_header=False,  # a backend's Date passes; the dispatcher adds one where there is none
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def run(app: Any, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; exit code 3 if it could not start, as uvicorn's own command does."""
    running = server(app, host, port)
    running.run()
    if not running.started:
        sys.exit(3)
