"""The only sender of control-plane HTTP: providers' endpoints, discovery documents, key sets and client metadata.

Bounded in time and size, no redirects, no cookies, no proxy from the environment. Calls whose URL a client supplied or
a callback chose (`trusted` is False) pass the SSRF guard: every address that the name resolves to is vetted, and the
connection goes to a vetted address, so that a second look-up cannot give another (DNS rebinding).
"""

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

import certifi
import httpx
import structlog
from msgspec import Struct, structs

from vestibule.model import Conversation, HttpCall, HttpFailure, HttpReply

T = TypeVar("T")
_Exchange = Callable[[HttpCall], Awaitable[HttpReply | HttpFailure]]
log = structlog.get_logger("vestibule.outbound")

_MOST_CALLS = 60
"""A conversation is a handful of calls, or some pages; more is a loop."""
_MOST_CACHED = 256
_FRESH_SECONDS = 30
"""A key set is fetched anew for an unknown `kid` at most this often: anybody can send a token with a made-up kid."""
_LAST_PORT = 65535
_HOST = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)*([^/?#@]*)", re.IGNORECASE)
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # IETF protocol assignments; some versions call 192.0.0.192 global
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64, local (RFC 8215)
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4 carries any IPv4 address
        "fec0::/10",  # site-local
        "::/96",  # IPv4-compatible (RFC 4291 §2.5.5.1)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "5f00::/16",  # segment routing (RFC 9602)
        "3fff::/20",  # documentation (RFC 9637)
    )
)


class Outbound:
    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` is for tests only; a guarded call goes through the guard whatever the transport.

        Guarded calls have connections and a cache of their own, so that strangers' URLs cannot crowd out providers.
        """
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)
        # No connection is reused: the pool knows addresses only, and the certificate was checked for one name on it.
        alone = httpx.Limits(max_connections=20, max_keepalive_connections=0)
        tls = trusted_roots()
        self._transport = transport or httpx.AsyncHTTPTransport(verify=tls, limits=limits, trust_env=False)
        self._guarded = Guard(transport or httpx.AsyncHTTPTransport(verify=tls, limits=alone, trust_env=False))
        self._caches = {trusted: _Cache() for trusted in (True, False)}

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
        return await self._caches[call.trusted].find(call, self._exchange)

    def forget(self, call: HttpCall) -> None:
        """The reply was of no use, though a 200: ask again next time (CIMD: errors are never cached)."""
        self._caches[call.trusted].forget(call.url)

    async def close(self) -> None:
        await self._transport.aclose()
        await self._guarded.aclose()

    async def _exchange(self, call: HttpCall) -> HttpReply | HttpFailure:
        started = time.perf_counter()
        answer = await self._attempt(call)
        host = _HOST.match(call.url)
        facts = {
            "method": call.method,
            "host": host[1] if host else "",
            "ms": round((time.perf_counter() - started) * 1000, 1),
        }
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
                headers=[*call.headers, ("accept-encoding", "identity")],
                content=call.body or None,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
            )
            if request.url.port is not None and not 0 < request.url.port <= _LAST_PORT:
                return HttpFailure("protocol", "no such port")
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
    """The body as it was sent: we asked for no compression, and a few bytes could unpack to gigabytes."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        return HttpFailure("protocol", "compressed, which was not asked for")
    body = bytearray()
    if not isinstance(response.stream, httpx.AsyncByteStream):
        return HttpFailure("protocol", "no stream")
    async for chunk in response.stream:
        body += chunk
        if len(body) > most:
            return HttpFailure("too_large", f"more than {most} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpReply(status=response.status_code, headers=headers, body=bytes(body))


class _Cached(Struct, frozen=True, kw_only=True):
    asked: float
    """The last attempt, also one that failed."""
    expires: float
    reply: HttpReply


class _Cache:
    """Replies by URL, the least recently used ones go first. Who waits for the same URL shares one exchange and its
    failure: a provider that does not answer costs everybody one timeout, not one after the other.
    """

    def __init__(self) -> None:
        self._replies: OrderedDict[str, _Cached] = OrderedDict()
        self._flights: dict[str, asyncio.Task[HttpReply | HttpFailure]] = {}

    async def find(self, call: HttpCall, exchange: _Exchange) -> HttpReply | HttpFailure:
        flight = self._flights.get(call.url)
        if flight is None:
            cached, now = self._replies.get(call.url), time.monotonic()
            if cached and now < cached.expires and not (call.fresh and now - cached.asked >= _FRESH_SECONDS):
                self._replies.move_to_end(call.url)
                return cached.reply
            flight = asyncio.create_task(self._fetch(call, exchange))
            self._flights[call.url] = flight
            flight.add_done_callback(lambda _: self._flights.pop(call.url))
        return await asyncio.shield(flight)  # who asked first may hang up

    def forget(self, url: str) -> None:
        self._replies.pop(url, None)

    async def _fetch(self, call: HttpCall, exchange: _Exchange) -> HttpReply | HttpFailure:
        reply = await exchange(call)
        now = time.monotonic()
        if isinstance(reply, HttpReply) and reply.status == 200:  # noqa: PLR2004
            self._replies[call.url] = _Cached(asked=now, expires=now + call.cache_seconds, reply=reply)
            self._replies.move_to_end(call.url)
            if len(self._replies) > _MOST_CACHED:
                self._replies.popitem(last=False)
        elif call.url in self._replies:  # else every made-up `kid` would be one more call while the provider is down
            self._replies[call.url] = structs.replace(self._replies[call.url], asked=now)
        return reply


@cache
def trusted_roots() -> ssl.SSLContext:
    """The system's certificate authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` too), so that a private one can be
    added as everywhere else, and certifi's, so that a bare container works.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Blocked(Exception):
    """The SSRF guard refused an address; the text is for the log, never for the one who supplied the URL."""


class Guard(httpx.AsyncBaseTransport):
    """Resolves, vets, and connects to what was vetted; TLS still verifies the name."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme != "https":
            raise Blocked("not https")
        host = request.url.raw_host.decode()  # `.host` is the Unicode form, which `socket` makes another name of
        address = await vetted_address(host, request.url.port or 443)
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=address)
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


_resolvers = ThreadPoolExecutor(4, thread_name_prefix="vetting")
"""Names that strangers chose are looked up here: slow ones must not hold up the look-ups of providers and backends."""


async def vetted_address(host: str, port: int) -> str:
    """The first address of `host` if all are public (OWASP SSRF: one private one taints the name); else Blocked."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(_resolvers, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
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
