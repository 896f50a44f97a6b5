"""The only sender of control-plane HTTP: providers' endpoints, discovery documents, key sets and client metadata.

Bounded in time and size, no redirects, no cookies, no proxy from the environment. Calls whose URL a client supplied or
a callback chose (`trusted` is False) pass the SSRF guard: every address that the name resolves to is vetted, and the
connection goes to a vetted address, so that a second look-up cannot give another (DNS rebinding).
"""

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from typing import TypeVar

import httpx
import structlog

from vestibule.model import Conversation, HttpCall, HttpFailure, HttpReply

T = TypeVar("T")
log = structlog.get_logger("vestibule.outbound")

_MOST_CALLS = 60
"""A conversation is a handful of calls, or some pages; more is a loop."""
_MOST_CACHED = 256
_FRESH_SECONDS = 30
"""A key set is fetched anew for an unknown `kid` at most this often: anybody can send a token with a made-up kid."""
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # IETF protocol assignments; some versions call 192.0.0.192 global
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64, local (RFC 8215)
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4 carries any IPv4 address
        "fec0::/10",  # site-local
    )
)


class Outbound:
    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` is for tests only; a guarded call goes through the guard whatever the transport."""
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
        self._guarded = Guard(self._transport)
        self._cache: OrderedDict[str, tuple[float, float, HttpReply]] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def converse(self, conversation: Conversation[T]) -> T:
        """Drive a sans-IO conversation to its end."""
        try:
            call = next(conversation)
            for _ in range(_MOST_CALLS):
                call = conversation.send(await self.send(call))
        except StopIteration as stop:
            result: T = stop.value
            return result
        raise RuntimeError(f"a conversation did not end after {_MOST_CALLS} calls")

    async def send(self, call: HttpCall) -> HttpReply | HttpFailure:
        """One reply or the reason why there is none; never raises for anything the network does."""
        if not call.cache_seconds:
            return await self._exchange(call)
        async with self._locks.setdefault(call.url, asyncio.Lock()):
            cached = self._cached(call)
            if cached is not None:
                return cached
            reply = await self._exchange(call)
            if isinstance(reply, HttpReply) and reply.status == 200:  # noqa: PLR2004
                now = time.monotonic()
                self._cache[call.url] = (now, now + call.cache_seconds, reply)
                while len(self._cache) > _MOST_CACHED:
                    self._locks.pop(self._cache.popitem(last=False)[0], None)
            return reply

    async def close(self) -> None:
        await self._transport.aclose()

    def _cached(self, call: HttpCall) -> HttpReply | None:
        fetched, expires, reply = self._cache.get(call.url, (0.0, 0.0, None))
        now = time.monotonic()
        if reply is None or now >= expires or (call.fresh and now - fetched >= _FRESH_SECONDS):
            return None
        return reply

    async def _exchange(self, call: HttpCall) -> HttpReply | HttpFailure:
        started = time.perf_counter()
        answer = await self._attempt(call)
        host = call.url.split("/", 3)[2] if call.url.count("/") > 1 else ""
        facts = {"method": call.method, "host": host, "ms": round((time.perf_counter() - started) * 1000, 1)}
        if isinstance(answer, HttpReply):
            log.info("outbound_call", **facts, status=answer.status)
        else:
            log.warning("outbound_failed", **facts, reason=answer.reason, detail=answer.detail)
        return answer

    async def _attempt(self, call: HttpCall) -> HttpReply | HttpFailure:
        transport = self._transport if call.trusted else self._guarded
        seconds = call.timeout_seconds
        try:
            request = httpx.Request(
                call.method,
                call.url,
                headers=list(call.headers),
                content=call.body or None,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
            )
            async with asyncio.timeout(seconds):
                response = await transport.handle_async_request(request)
                try:
                    return await _read(response, call.max_bytes)
                finally:
                    await response.aclose()
        except Blocked as blocked:
            return HttpFailure("blocked", str(blocked))
        except (TimeoutError, httpx.TimeoutException):
            return HttpFailure("timeout", f"no complete answer in {seconds:g} s")
        except httpx.ConnectError as error:
            return HttpFailure("tls" if "ssl" in str(error).lower() else "connect", type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
            return HttpFailure("protocol", type(error).__name__)


async def _read(response: httpx.Response, most: int) -> HttpReply | HttpFailure:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most:
            return HttpFailure("too_large", f"more than {most} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpReply(status=response.status_code, headers=headers, body=bytes(body))


class Blocked(Exception):
    """The SSRF guard refused an address; the text is for the log, never for the one who supplied the URL."""


class Guard(httpx.AsyncBaseTransport):
    """Resolves, vets, and connects to what was vetted; TLS still verifies the name."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme != "https":
            raise Blocked("not https")
        host = request.url.host
        address = await vetted_address(host, request.url.port or 443)
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=address)
        return await self._transport.handle_async_request(request)


async def vetted_address(host: str, port: int) -> str:
    """The first address of `host` if all are public (OWASP SSRF: one private one taints the name); else Blocked."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError("the name does not resolve") from error
    addresses = [str(info[4][0]) for info in found]
    for address in addresses:
        if not is_public(address):
            raise Blocked(f"{address} is not a public address")
    return addresses[0]


def is_public(address: str) -> bool:
    """IPv4-mapped addresses are judged as the IPv4 address they carry."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return (
        parsed.is_global
        and not parsed.is_multicast
        and not any(parsed in network for network in _NOT_PUBLIC if network.version == parsed.version)
    )
