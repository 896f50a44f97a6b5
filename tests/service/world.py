"""A gateway on a temporary database, with a clock that is set by hand and a provider that does what it is told."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
from msgspec import Struct, structs

from storage.databases import Sqlite
from vestibule.app import build_gateway
from vestibule.crypto.digests import sha256
from vestibule.loading import load_config
from vestibule.model import ConnectionRecord, FamilyRecord, KeyFacts
from vestibule.oauth.params import Params
from vestibule.outbound import Outbound
from vestibule.service import authorizations, logins, tokens
from vestibule.service.access import Access
from vestibule.service.cache import Admission, KeyCache
from vestibule.service.gateway import Gateway
from vestibule.service.revocations import RevocationLog
from vestibule.storage import connections, grants, keys, refreshes
from vestibule.storage.database import Database

NOW = 1_800_000_000
ISSUER = "https://gate.example.com"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECTS = {"portal": "https://portal.example.com/cb", "other": "https://other.example.com/cb"}
ADA = {"id": "1", "email": "ada@acme.com", "verified": True, "name": "Ada", "groups": ["platform"]}

DEFINITION = """\
title: Acme
authorize: {url: "https://id.acme.test/authorize"}
token: {url: "https://id.acme.test/token"}
revoke: {url: "https://id.acme.test/revoke"}
identity:
  calls: {me: {url: "https://id.acme.test/me"}}
  map: {sub: me.id, email: me.email, email_verified: me.verified, name: me.name, groups: me.groups}
"""

CONFIG = """\
public_url: https://gate.example.com
storage: sqlite:///%s
secrets:
  signing: [Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0A]
  sealing: [aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3aB4c]
providers:
  acme: {definition: ./acme.yaml, client: {id: app, secret: acme-client-secret}}
clients:
  - {id: portal, name: Portal, redirect_uris: [https://portal.example.com/cb]}
  - {id: other, name: Other, redirect_uris: [https://other.example.com/cb]}
routes:
  - id: issues
    path: /mcp
    backend: http://127.0.0.1:9000/mcp
    providers: [acme]
    allow: [{email_domain: acme.com}, {service: ci}]
    permissions: {read: {title: Read, default: true}, write: {title: Write}}
    send:
      headers: {X-Sub: sub, X-Email: email, X-Name: name, X-Groups: groups, X-Client: client_id, X-Scope: scope}
  - id: tokens
    path: /tokens
    backend: http://127.0.0.1:9000/tokens
    providers: [acme]
    allow: anyone
    permissions:
      read: {title: Read, scopes: {acme: ["repo:read"]}}
      write: {title: Write, scopes: {acme: [repo]}}
    send: {authorization: {provider_token: acme}}
  - id: signed
    path: /signed
    backend: http://127.0.0.1:9000/signed
    providers: [acme]
    allow: anyone
    send: {authorization: signed_jwt}
"""


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> int:
        return self.time

    def advance(self, seconds: int) -> None:
        self.time += seconds


class Network:
    """The provider, which rotates its refresh tokens strictly, and every other web site (`sites`)."""

    def __init__(self) -> None:
        self.person: dict[str, Any] = ADA
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.sites: dict[str, Callable[[], httpx.Response]] = {}
        self.expires_in: int | None = 3600
        self.gives_refresh_token = True
        self.rotates = True
        self.fails: list[httpx.Response | Exception] = []
        """What the next refreshes get instead of an answer."""
        self.open = asyncio.Event()
        """Cleared, refreshes wait."""
        self.open.set()
        self.good: set[str] = set()
        """Refresh tokens that the provider still takes."""
        self._made = 0

    def asked(self, path: str) -> list[dict[str, str]]:
        return [form for called, form in self.calls if called == path]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        url, form = str(request.url), dict(parse_qsl(request.content.decode()))
        if request.headers["host"] != "id.acme.test":
            site = f"https://{request.headers['host']}{request.url.path}"
            self.calls.append((site, {}))
            return streamed(self.sites[site]())
        path = urlsplit(url).path
        refreshing = form.get("grant_type") == "refresh_token"
        self.calls.append(("/refresh" if refreshing else path, form))
        if path == "/me":
            return reply(self.person)
        if path == "/revoke":
            self.good.discard(form["token"])
            return reply({})
        if refreshing:
            return await self._refresh(form["refresh_token"])
        return reply(self._tokens(with_refresh=self.gives_refresh_token))

    async def _refresh(self, refresh_token: str) -> httpx.Response:
        await self.open.wait()
        if self.fails:
            failure = self.fails.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return streamed(failure)
        if refresh_token not in self.good:
            return reply({"error": "invalid_grant"}, 400)
        if self.rotates:
            self.good.remove(refresh_token)
        return reply(self._tokens(with_refresh=self.rotates))

    def _tokens(self, *, with_refresh: bool) -> dict[str, Any]:
        self._made += 1
        tokens: dict[str, Any] = {"access_token": f"access-{self._made}", "token_type": "Bearer"}
        if self.expires_in is not None:
            tokens["expires_in"] = self.expires_in
        if with_refresh:
            tokens["refresh_token"] = f"refresh-{self._made}"
            self.good.add(tokens["refresh_token"])
        return tokens


def reply(document: Any, status: int = 200) -> httpx.Response:
    body = httpx.ByteStream(json.dumps(document).encode())
    return httpx.Response(status, headers={"content-type": "application/json"}, stream=body)


def streamed(response: httpx.Response) -> httpx.Response:
    """As it comes from a socket: not read yet."""
    return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(response.content))


class Keys(Struct):
    """What a client holds after it has redeemed a code."""

    access: str
    refresh: str
    family: str
    client: str


class World:
    def __init__(self, gateway: Gateway, clock: Clock, network: Network) -> None:
        self.gateway, self.clock, self.network = gateway, clock, network
        self.access = Access(gateway)
        self.others: list[World] = []

    # --- what a browser and a client do --------------------------------------------------------------------------

    async def code(
        self,
        *,
        client: str = "portal",
        route: str = "issues",
        permissions: tuple[str, ...] = ("read", "write"),
        redirect_uri: str | None = None,
    ) -> str:
        """Through consent and the provider, to the code in the redirect to the client."""
        query = {
            "client_id": client,
            "redirect_uri": redirect_uri or REDIRECTS[client],
            "response_type": "code",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": self.gateway.routes[route].resource.url,
            "scope": " ".join(permissions),
        }
        consent = await authorizations.begin(self.gateway, urlencode(query).encode(), "browser")
        leaving = await authorizations.decide(
            self.gateway, signed=consent.signed, browser="browser", decision="approve:acme", chosen=permissions
        )
        returned = {"code": "provider-code", "state": parse_qs(urlsplit(leaving.url).query)["state"][0]}
        arrival = await logins.complete(self.gateway, "acme", returned, dict([leaving.cookie]))
        return parse_qs(urlsplit(arrival.url).query)["code"][0]

    async def token(self, *, resource: str | None = None, **params: str) -> dict[str, Any]:
        given = {name: value for name, value in {"client_id": "portal", **params}.items() if value is not None}
        return await tokens.issue(self.gateway, Params(given, (resource,) if resource else ()), None)

    async def redeem(self, code: str, **change: Any) -> dict[str, Any]:
        given = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        return await self.token(**given | change)

    async def refresh(self, text: str, **change: Any) -> dict[str, Any]:
        return await self.token(**{"grant_type": "refresh_token", "refresh_token": text} | change)

    async def revoke(self, text: str, **change: Any) -> None:
        await tokens.revoke(self.gateway, Params({"client_id": "portal", "token": text} | change), None)

    async def sign_in(self, *, client: str = "portal", **change: Any) -> Keys:
        answer = await self.redeem(await self.code(client=client, **change), client_id=client)
        record = await self.refresh_record(answer["refresh_token"])
        return Keys(answer["access_token"], answer["refresh_token"], record.family_id, client)

    async def admit(self, text: str, route: str = "issues") -> Admission:
        return await self.access.admit(text, self.gateway.routes[route])

    # --- what the database says ----------------------------------------------------------------------------------

    async def facts(self, text: str) -> KeyFacts:
        async with self.gateway.database.read() as db:
            found = await keys.find_key_facts(db, sha256(text))
        assert found is not None
        return found

    async def refresh_record(self, text: str) -> Any:
        async with self.gateway.database.read() as db:
            return await refreshes.find_refresh(db, sha256(text))

    async def family(self, family_id: str) -> FamilyRecord:
        async with self.gateway.database.read() as db:
            found = await grants.find_family(db, family_id)
        assert found is not None
        return found

    async def connection(self, text: str) -> ConnectionRecord:
        """The connection under an access token, as it is now."""
        family = (await self.facts(text)).family
        async with self.gateway.database.read() as db:
            found = await connections.find_connection(db, family.connection_id)
        assert found is not None
        return found

    def as_another_process(self, **change: Any) -> "World":
        """The same database file, clock and network behind a gateway that shares no memory with this one."""
        database, cache = Database(str(self.gateway.database.engine.url).replace("+aiosqlite", "")), KeyCache()
        apart = {"database": database, "cache": cache, "revocations": RevocationLog(database, cache), "worker": "other"}
        self.others.append(World(structs.replace(self.gateway, **apart | change), self.clock, self.network))
        return self.others[-1]

    async def close(self) -> None:
        for world in [*self.others, self]:
            await world.gateway.database.close()

    def with_route(self, route_id: str, **change: Any) -> "World":
        """As after a restart with one route changed in the config, or `gone` from it."""
        routes = dict(self.gateway.routes)
        if change.pop("gone", False):
            del routes[route_id]
        else:
            routes[route_id] = structs.replace(routes[route_id], **change)
        return self.as_another_process(routes=routes)


async def make_world(directory: Path, database: Sqlite, settings: Mapping[str, str]) -> World:
    """`settings`: text of the config or of the definition to be replaced, and by what."""
    config, definition = CONFIG % (directory / "vestibule.db"), DEFINITION
    for old, new in settings.items():
        assert old in config + definition, old
        config, definition = config.replace(old, new), definition.replace(old, new)
    (directory / "vestibule.yaml").write_text(config)
    (directory / "acme.yaml").write_text(definition)
    loaded = load_config(directory / "vestibule.yaml", {})
    await database.migrate(loaded.config.storage)
    clock, network = Clock(), Network()
    gateway = build_gateway(loaded, Outbound(transport=httpx.MockTransport(network)))
    return World(structs.replace(gateway, now=clock), clock, network)
