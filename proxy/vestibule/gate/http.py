"""Forwarding: streams both ways, event by event, with back-pressure, and never invents a clean end.

A client that leaves cancels the backend request at once. A backend that dies after its headers ends the client's
connection without the final chunk, so that a cut answer cannot pass for a whole one.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx

from vestibule.config import RouteConfig
from vestibule.errors import BackendFailed, BackendTimeout, BadRequest, BodyTooLarge, RequestTimeout, Unavailable
from vestibule.gate.headers import RawHeaders, get_all
from vestibule.outbound import trusted_roots

_FINAL = range(200, 600)
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


UPLOAD_SECONDS = 60
"""How long a client may send no byte of a body that it announced."""
WRITE_SECONDS = 30
"""How long a backend may take no byte of a request; meanwhile nothing tells whether the client is still there."""


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
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout("upload_stalled", f"no byte of the body in {UPLOAD_SECONDS} s") from None
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

    def __init__(self, config: RouteConfig) -> None:
        self._url = httpx.URL(config.backend)
        self._path = self._url.raw_path.removesuffix(b"/")
        self._timeouts = config.timeouts
        limits = httpx.Limits(max_connections=512, max_keepalive_connections=64, keepalive_expiry=15)
        self._transport = httpx.AsyncHTTPTransport(verify=trusted_roots(), limits=limits, trust_env=False)
        self.host = self._url.netloc

    async def send(
        self, method: str, rest: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: RequestBody
    ) -> httpx.Response:
        """The response, its body still to be streamed; `release` ends it. Raises BackendFailed and its kin."""
        target = (self._path + rest or b"/") + (b"?" + query if query else b"")
        idle, first_byte = self._timeouts.idle, self._timeouts.first_byte
        timeouts = {"connect": self._timeouts.connect, "read": max(idle, first_byte), "write": WRITE_SECONDS, "pool": 5}
        request = httpx.Request(
            method,
            self._url,
            headers=headers,
            stream=httpx.ByteStream(b"") if body.empty else body,
            extensions={"target": target, "timeout": timeouts},
        )
        try:
            async with asyncio.timeout(None) as deadline:
                watch = asyncio.create_task(self._first_byte(body, deadline))
                try:
                    response = await self._transport.handle_async_request(request)
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
        timeouts["read"] = idle  # read anew for each part of the body
        if not _can_be_answered(response):
            await release(response)
            raise BackendFailed("backend_answer_malformed", f"status {response.status_code}")
        return response

    async def _first_byte(self, body: RequestBody, deadline: asyncio.Timeout) -> None:
        """The clock for the answer starts when the request is complete: a long upload is not a slow backend."""
        await body.complete.wait()
        deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.first_byte)

    async def close(self) -> None:
        await self._transport.aclose()


def _can_be_answered(response: httpx.Response) -> bool:
    """Whether the server can write this head: once it has begun with one, a 502 in its place is no longer possible."""
    values = (value for _, value in response.headers.raw)
    return response.status_code in _FINAL and not any(_UNSENDABLE.search(value) for value in values)


async def release(response: httpx.Response) -> None:
    """Give the connection back, or close it if the answer is not complete or the backend sent more than that.

    httpcore keeps what follows a message in its parser, and would read it as the answer to the next request, which may
    be another user's (response queue poisoning). It offers no other way to see that.
    """
    stream: Any = response.stream
    parser = stream._httpcore_stream._stream._connection._h11_state  # noqa: SLF001
    if parser.trailing_data[0]:
        parser.send_failed()
    await response.aclose()


async def until_gone(receive: Any, body: RequestBody) -> None:
    """Return when the client has left; reads nothing of the body."""
    await body.complete.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
