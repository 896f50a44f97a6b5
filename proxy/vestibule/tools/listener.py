"""One callback on a loopback address (RFC 8252 §7.3): just enough HTTP to read one request, and nothing of it stays.

Chosen against running the gateway: a login that is tried must not need a database, secrets or routes.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html import escape
from urllib.parse import parse_qsl, urlsplit

from vestibule.crypto.digests import equal

HOST = "127.0.0.1"
_MOST_BYTES = 64 * 1024
_SECONDS = 10
_HEADERS = (
    "Content-Type: text/html; charset=utf-8",
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control: no-store",
    "Referrer-Policy: no-referrer",  # the address of the page holds the code
    "Connection: close",
)
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<body style="font: 1.1rem/1.5 system-ui; max-width: 34rem; margin: 20vh auto; padding: 0 1rem">
<h1 style="font-size: 1.5rem">{title}</h1><p>{text}</p></body></html>
"""


class PortTaken(Exception):
    """Something else listens there."""


class Listener:
    """`params` is the first callback with the right state; others are told so and forgotten."""

    def __init__(self, path: str, state_name: str, state: str) -> None:
        self._path, self._state_name, self._state = path, state_name, state
        loop = asyncio.get_running_loop()
        self.params: asyncio.Future[Mapping[str, str]] = loop.create_future()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                status, title, text = self._answer(await _read(reader))
                page = _PAGE.format(title=escape(title), text=escape(text)).encode()
                head = [f"HTTP/1.1 {status}", f"Content-Length: {len(page)}", *_HEADERS, "", ""]
                writer.write("\r\n".join(head).encode() + page)
                await writer.drain()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            pass  # a browser that opens a connection in advance, or a scanner
        finally:
            writer.close()

    def _answer(self, request: tuple[str, dict[str, str]]) -> tuple[str, str, str]:
        path, params = request
        if path != self._path:
            return "404 Not Found", "Nothing here", "This address only waits for the provider's answer."
        if not equal(params.get(self._state_name, ""), self._state):
            text = "Its state is not the one of this login. Close this page and open the printed link again."
            return "400 Bad Request", "Not the answer that was waited for", text
        if self.params.done():
            return "400 Bad Request", "Already answered", "This login has its answer. See the terminal."
        self.params.set_result(params)
        return "200 OK", "The answer is here", "You can close this page. The terminal shows what came of it."


@asynccontextmanager
async def listening(port: int, listener: Listener) -> AsyncIterator[None]:
    """Raises PortTaken."""
    try:
        server = await asyncio.start_server(listener.serve, HOST, port, limit=_MOST_BYTES)
    except OSError as error:
        raise PortTaken(error.strerror or "cannot listen") from None
    async with server:
        yield


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """The path and the parameters: of the query, and of the form that a form_post callback has."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    parts = urlsplit(target)
    pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=64)
    if method == "POST":
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= _MOST_BYTES:
            raise ValueError("too long")
        body = (await reader.readexactly(length)).decode("latin-1")
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=64)
    return parts.path, dict(pairs)
