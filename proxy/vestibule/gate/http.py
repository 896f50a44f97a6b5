"""Forwarding: streams both ways, event by event, with back-pressure, and never invents a clean end.

A client that leaves cancels the backend request at once. A backend that dies after its headers ends the client's
connection without the final chunk, so that a cut answer cannot pass for a whole one.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx

from vestibule.config import RouteConfig
from vestibule.errors import BackendFailed, BackendTimeout, BadRequest, BodyTooLarge, Unavailable
from vestibule.gate.headers import RawHeaders, get_all


class ClientGone(Exception):
    """The client closed its connection before its request was complete."""


class RequestBody(httpx.AsyncByteStream):
    """The client's body as a stream for the backend, bounded.

    The first message is read ahead, so that a request without a body is known to have none, and stays bodyless.
    """

    def __init__(self, receive: Any, most: int, headers: RawHeaders) -> None:
        for value in get_all(headers, b"content-length"):
            if not value.isdigit() or int(value) > most:
                raise BodyTooLarge("body_too_large", "by its Content-Length")  # before a byte of it is read
        self._receive = receive
        self._most = most
        self._size = 0
        self._pending: bytes = b""
        self.complete = asyncio.Event()

    async def start(self) -> None:
        self._pending = await self._next()

    @property
    def empty(self) -> bool:
        return self.complete.is_set() and not self._pending

    async def read(self, most: int) -> bytes:
        """All of it, for judging; kept, so that it is forwarded byte for byte. Raises BodyTooLarge beyond `most`."""
        self._most = min(self._most, most)
        parts = [self._pending]
        while not self.complete.is_set():
            parts.append(await self._next())
        self._pending = b"".join(parts)
        return self._pending

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._pending:
            yield self._pending
        while not self.complete.is_set():
            chunk = await self._next()
            if chunk:
                yield chunk

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        self._size += len(chunk)
        if self._size > self._most:
            raise BodyTooLarge("body_too_large", f"more than {self._most} bytes")
        if not message.get("more_body", False):
            self.complete.set()
        return chunk


class Backend:
    """One route's backend with a pool of its own, so that a slow one starves no other."""

    def __init__(self, config: RouteConfig, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = httpx.URL(config.backend)
        self._path = self._url.raw_path.removesuffix(b"/")
        self._timeouts = config.timeouts
        limits = httpx.Limits(max_connections=512, max_keepalive_connections=64, keepalive_expiry=15)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
        self.host = self._url.netloc

    async def send(
        self, method: str, rest: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: RequestBody
    ) -> httpx.Response:
        """The response, its body still to be streamed. Raises BackendFailed, BackendTimeout, Unavailable."""
        target = (self._path + rest or b"/") + (b"?" + query if query else b"")
        idle = self._timeouts.idle
        request = httpx.Request(
            method,
            self._url,
            headers=headers,
            stream=httpx.ByteStream(b"") if body.empty else body,
            extensions={
                "target": target,
                "timeout": {"connect": self._timeouts.connect, "read": idle, "write": idle, "pool": 5},
            },
        )
        try:
            async with asyncio.timeout(None) as deadline:
                watch = asyncio.create_task(self._first_byte(body, deadline))
                try:
                    return await self._transport.handle_async_request(request)
                finally:
                    watch.cancel()
        except httpx.PoolTimeout as error:
            raise Unavailable("backend_busy", "every connection to the backend is in use") from error
        except httpx.ConnectTimeout as error:
            raise BackendTimeout("backend_connect_timeout") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise BackendTimeout("backend_timeout", f"no answer in {self._timeouts.first_byte} s") from error
        except httpx.ConnectError as error:
            raise BackendFailed("backend_unreachable", type(error).__name__) from error
        except httpx.LocalProtocolError as error:
            raise BadRequest("request_unforwardable", str(error)) from error
        except httpx.HTTPError as error:
            raise BackendFailed("backend_broke_off", type(error).__name__) from error

    async def _first_byte(self, body: RequestBody, deadline: asyncio.Timeout) -> None:
        """The clock for the answer starts when the request is complete: a long upload is not a slow backend."""
        await body.complete.wait()
        deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.first_byte)

    async def close(self) -> None:
        await self._transport.aclose()


async def until_gone(receive: Any, body: RequestBody) -> None:
    """Return when the client has left; reads nothing of the body."""
    await body.complete.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
