"""The outermost ASGI application: every request comes through here, and what nothing claims is refused.

Order (design decision 10): our own paths, true CORS preflights, then routes by the raw path. Middleware of a framework
runs for matched routes only, so the trace id, the access log and the refusals live here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from email.utils import formatdate
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import httpx
import msgspec
import structlog

from vestibule.crypto import random
from vestibule.errors import (
    BackendFailed,
    BadRequest,
    Forbidden,
    GateError,
    KeyInvalid,
    KeyMissing,
    NotRouted,
    PermissionMissing,
    Unavailable,
)
from vestibule.gate import admit, cors
from vestibule.gate.headers import RawHeaders, folded, get_all, to_backend, to_client
from vestibule.gate.http import Backend, ClientGone, RequestBody, release, until_gone
from vestibule.gate.query import replaced
from vestibule.policy.routes import ambiguity, is_reserved
from vestibule.service.access import Access
from vestibule.service.cache import Admission
from vestibule.service.gateway import Gateway, Route

log = structlog.get_logger("vestibule.access_log")
_TRACE_ID = 32
_HEX = frozenset("0123456789abcdef")
_WITHOUT_CONTENT = frozenset({204, 304})
"""A 304 may tell the length of what it stands for (RFC 9110 §8.6); the server would wait for that many bytes."""
_REFUSED_METHODS = frozenset({"TRACE", "CONNECT", "TRACK"})


class Dispatcher:
    """`control` is the Litestar application; `hosts`, if given, the only Host values served (421 otherwise)."""

    def __init__(self, gateway: Gateway, access: Access, control: Any, *, hosts: frozenset[str] | None = None) -> None:
        self._gateway = gateway
        self._access = access
        self._control = control
        self._hosts = hosts
        self._backends: Mapping[str, Backend] = {route.id: Backend(route.config) for route in gateway.routes.values()}
        self._names = {route.id: _names_of(gateway, route) for route in gateway.routes.values()}

    async def close(self) -> None:
        for backend in self._backends.values():
            await backend.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._control(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # refused before the upgrade

    async def _request(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = _Exchange(scope, send)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(trace_id=exchange.trace_id)
        try:
            self._check_request(scope)
            if is_reserved(scope["raw_path"]):
                scope.setdefault("state", {})["trace_id"] = exchange.trace_id
                await self._control(scope, receive, exchange.send)
            else:
                await self._gated(exchange, scope, receive)
        except GateError as refusal:
            await self._refuse(exchange, refusal)
        except ClientGone:
            exchange.reason = "client_gone"  # there is nobody to answer, and nothing went wrong
        except asyncio.CancelledError:
            exchange.reason = "client_gone"
            raise
        except Exception:
            # Fail closed: whatever went wrong, nothing was let through by it (CVE-2026-12773).
            log.exception("gate_failed")
            await self._refuse(exchange, Unavailable("internal"))
        finally:
            exchange.write_log()

    def _check_request(self, scope: Any) -> None:
        """What a strict server refuses, asked again here, because parsers differ in what they let through."""
        headers: RawHeaders = scope["headers"]
        hosts = get_all(headers, b"host")
        if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
            raise BadRequest("host_header")  # RFC 9112 §3.2
        if self._hosts is not None and (not hosts or hosts[0].decode("latin-1").lower() not in self._hosts):
            raise Misdirected("host_not_served")  # DNS rebinding
        if scope["method"] in _REFUSED_METHODS:
            raise BadRequest("method_refused")
        codings = get_all(headers, b"transfer-encoding")
        if codings and get_all(headers, b"content-length"):
            raise BadRequest("content_length_and_transfer_encoding")  # RFC 9112 §6.1: smuggling
        if codings and [value.lower() for value in codings] != [b"chunked"]:
            raise BadRequest("transfer_encoding_unknown")  # the coding ends here, so the backend could not undo it

    async def _gated(self, exchange: "_Exchange", scope: Any, receive: Any) -> None:
        headers: RawHeaders = scope["headers"]
        matched = self._gateway.table.match(scope["raw_path"])
        if matched is None:
            raise NotRouted("no_route")
        route, rest = matched
        exchange.route, exchange.rest = route, rest
        if cors.is_preflight(scope["method"], headers):
            await exchange.answer(204, cors.preflight(headers, route.config.origins, self._gateway.issuer))
            return
        origin = cors.allowed_origin(headers, route.config.origins, self._gateway.issuer)
        exchange.cors = cors.response_headers(origin)
        ambiguous = ambiguity(scope["raw_path"])
        if ambiguous is not None and not route.config.allow_ambiguous_paths:
            raise BadRequest(ambiguous)
        admission = await self._access.admit(admit.bearer(headers, scope["query_string"]), route)
        exchange.admission = admission
        if not admission.permissions:
            raise Forbidden("no_permission_left")
        with self._gateway.cache.live(admission, exchange.revoke):
            body = RequestBody(receive, route.config.max_body_bytes, headers)
            await body.start()
            await admit.judge(route, admission, scope["method"], rest, headers, body)
            if exchange.revoked or admission.revoked:
                raise KeyInvalid("key_revoked")  # while its body came in, or while it waited to be admitted
            await self._forward(exchange, scope, receive, route, rest, admission, body)

    async def _forward(
        self,
        exchange: "_Exchange",
        scope: Any,
        receive: Any,
        route: Route,
        rest: bytes,
        admission: Admission,
        body: RequestBody,
    ) -> None:
        """Exchange with the backend until it is complete or the client has left, whichever comes first."""
        backend = self._backends[route.id]
        authorization = self._authorization(route, admission)
        added = [
            (b"host", backend.host),
            *self._forwarded(scope),
            *admission.headers,
            *authorization,
        ]
        names = self._names[route.id]
        headers = to_backend(scope["headers"], identity=names.headers, added=added)
        query = scope["query_string"]
        if names.query:
            query = replaced(query, names.query, self._access.provider_query(admission))
        if not body.empty and not get_all(headers, b"content-length"):
            headers.append((b"transfer-encoding", b"chunked"))
        work = asyncio.create_task(self._relay(exchange, backend, route, scope["method"], rest, query, headers, body))
        gone = asyncio.create_task(until_gone(receive, body))
        exchange.stop = gone.cancel
        seconds_left = admission.key.expires_at - self._gateway.now()
        try:
            await asyncio.wait({work, gone}, timeout=seconds_left, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                # Dropped without a final chunk: a stream must not outlive its key (design decision 16).
                exchange.reason = "key_revoked" if exchange.revoked else "client_gone" if gone.done() else "key_expired"
                return
            await work
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _relay(
        self,
        exchange: "_Exchange",
        backend: Backend,
        route: Route,
        method: str,
        rest: bytes,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        body: RequestBody,
    ) -> None:
        response = await backend.send(method, rest, query, headers, body)
        try:
            raw = to_client(response.headers.raw, sandbox_html=not route.config.allow_html, cors=exchange.cors)
            if response.status_code in _WITHOUT_CONTENT:
                raw = [(name, value) for name, value in raw if name.lower() != b"content-length"]
            await exchange.start(response.status_code, raw)
            async with aclosing(_chunks(response)) as chunks:
                async for chunk in chunks:
                    await exchange.body(chunk)
        except httpx.HTTPError as error:
            # Headers are out: the connection is dropped without a final chunk, so that nobody takes it for complete.
            exchange.reason = "backend_broke_off"
            log.warning("backend_broke_off", route=route.id, detail=type(error).__name__)
            return
        finally:
            await release(response)
        await exchange.end()

    def _authorization(self, route: Route, admission: Admission) -> list[tuple[bytes, bytes]]:
        """What replaces the client's key, which itself never goes further than here."""
        wanted = route.config.send.authorization
        if wanted == "strip":
            return []
        if wanted == "signed_jwt":
            return [(b"authorization", b"Bearer " + self._access.identity_jwt(admission, route).encode())]
        if wanted.static is not None:
            return [(b"authorization", wanted.static.reveal().encode())]
        return self._access.provider_headers(admission)

    def _forwarded(self, scope: Any) -> list[tuple[bytes, bytes]]:
        """Made from the connection and the config, never from what the client claims (CVE-2026-48061)."""
        scheme, _, host = self._gateway.issuer.partition("://")
        return [
            (b"x-forwarded-for", self._forwarded_for(scope).encode()),
            (b"x-forwarded-proto", scheme.encode()),
            (b"x-forwarded-host", host.encode()),
        ]

    def _forwarded_for(self, scope: Any) -> str:
        """The peer, behind what it says itself if the config trusts it (CVE-2025-59152)."""
        peer = scope["client"][0] if scope.get("client") else "unknown"
        told = b", ".join(get_all(scope["headers"], b"x-forwarded-for")).decode("latin-1")
        return f"{told}, {peer}" if told and _within(peer, self._gateway.trusted_proxies) else peer

    async def _refuse(self, exchange: "_Exchange", refusal: GateError) -> None:
        """Answer a refusal, or drop the connection if an answer has begun already."""
        exchange.reason, exchange.detail = refusal.slug, refusal.detail
        if exchange.status:
            return
        headers: list[tuple[bytes, bytes]] = list(exchange.cors)
        route = exchange.route
        if route is not None and isinstance(refusal, KeyMissing | KeyInvalid | PermissionMissing):
            scope = refusal.permissions if isinstance(refusal, PermissionMissing) else ()
            headers.append(
                (
                    b"www-authenticate",
                    admit.challenge_for(
                        route, exchange.rest, self._gateway.issuer, refusal.error, refusal.public, scope
                    ),
                )
            )
        if isinstance(refusal, Unavailable):
            headers.append((b"retry-after", b"5"))
        document = {
            "error": refusal.error or refusal.slug,
            "error_description": refusal.public,
            "trace_id": exchange.trace_id,
        }
        await exchange.answer(refusal.status, headers, msgspec.json.encode(document))


class _Names(msgspec.Struct, frozen=True):
    """What only we may set towards a route's backend, whether or not there is a value for it this time."""

    headers: frozenset[bytes]
    """Folded."""
    query: frozenset[str]


def _names_of(gateway: Gateway, route: Route) -> _Names:
    headers, query = set(route.config.send.headers), frozenset[str]()
    if route.provider_token_of is not None:
        api = gateway.providers[route.provider_token_of].definition.api
        headers |= set(api.header)
        query = frozenset(api.query)
    return _Names(frozenset(folded(name.encode()) for name in headers), query)


class Misdirected(GateError):
    """RFC 9110 §15.5.20: this Host is not served here."""

    status, description = 421, "This host name is not served here."


class _Exchange:
    """One request's answer and what the access log will say about it."""

    def __init__(self, scope: Any, send: Any) -> None:
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self.trace_id = _trace_id(scope["headers"])
        self.status = 0
        self.route: Route | None = None
        self.rest = b""
        self.admission: Admission | None = None
        self.cors: list[tuple[bytes, bytes]] = []
        self.reason = ""
        self.detail = ""
        self.revoked = False
        self.stop: Callable[[], object] = lambda: None

    def revoke(self) -> None:
        """The key was revoked while this request is under way."""
        self.revoked = True
        self.stop()

    async def send(self, message: Any) -> None:
        """ASGI send: adds the trace id and a date, and notes the status."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-trace-id", self.trace_id.encode())]
            if not any(name.lower() == b"date" for name, _ in headers):
                headers.append((b"date", formatdate(usegmt=True).encode()))  # RFC 9110 §6.6.1
            message = {**message, "headers": headers}
        await self._send(message)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], document: bytes = b"") -> None:
        """A whole answer of our own: never cached, never sniffed."""
        own = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        if document:
            own += [(b"content-type", b"application/json"), (b"content-length", str(len(document)).encode())]
        await self.start(status, [*own, *headers])
        await self._send({"type": "http.response.body", "body": document})

    def write_log(self) -> None:
        """One line a request: no query, no key, no header values."""
        facts: dict[str, Any] = {
            "method": self._scope["method"],
            "path": self._scope["raw_path"].decode("latin-1")[:512],
            "status": self.status,
            "ms": round((time.perf_counter() - self._started) * 1000, 2),
        }
        if self.route is not None:
            facts["route"] = self.route.id
        if self.admission is not None:
            facts |= {"key": self.admission.key.id, "sub": self.admission.sub, "client_id": self.admission.client_id}
        if self.reason:
            facts["reason"] = self.reason
        if self.detail:
            facts["detail"] = self.detail
        log.info("request", **facts)


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise BackendFailed("backend_broke_off", "no stream")
    async for chunk in stream:
        if chunk:
            yield chunk


def _within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False  # a unix socket
    return any(parsed in network for network in networks if network.version == parsed.version)


def _trace_id(headers: RawHeaders) -> str:
    """The trace of the caller (W3C Trace Context §3.2.2.3), so that one id follows a request; else a new one."""
    for value in get_all(headers, b"traceparent"):
        parts = value.decode("latin-1").split("-")
        digits = set(parts[1]) if len(parts) >= 4 and len(parts[1]) == _TRACE_ID else set()  # noqa: PLR2004
        if digits and digits <= _HEX and digits != {"0"}:
            return parts[1]
    return random.trace_id()
