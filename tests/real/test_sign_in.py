"""End to end on real parts: the official Python MCP client, the gateway in a process of its own, real providers and a
real MCP server. After each test no secret of it is in the gateway's log, in its database or at the backend.
"""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from jwcrypto.jwk import JWKSet
from jwcrypto.jws import JWS

from real.django_provider import DjangoProvider
from real.evidence import Ledger, change, log_lines, made, query
from real.gateway import Gateway
from real.mcp_backend import McpBackend
from real.oauth_client import REDIRECT_URI, OAuthClient, bearer, call_tool, eventually, send, tool_call
from real.oidc_mock import OidcProvider
from real.processes import need, program
from real.shapes import (
    CLERK,
    DEFINITIONS,
    IDENTITY_HEADERS,
    PERMISSIONS,
    SENTRY,
    SHAPES,
    Shape,
    clerk_shaped,
    gateway_with,
    route,
    sentry_shaped,
)

EARLY_SECONDS = 120
"""How long before its end a provider's token is refreshed."""
OFFICE = {"id": "office", "name": "Office", "redirect_uris": [REDIRECT_URI], "secret": secrets.token_urlsafe(32)}
DESK = {"id": "desk", "name": "Desk", "redirect_uris": [REDIRECT_URI]}


def config_of(
    url: str, backend: McpBackend, django: DjangoProvider, oidc: OidcProvider | None = None
) -> dict[str, Any]:
    mcp = {"permissions": PERMISSIONS}
    providers = {"sentry": sentry_shaped(django)}
    routes = [
        route(
            "own-sentry",
            "/sentry",
            backend.mcp_url,
            providers=["sentry"],
            send={"authorization": {"provider_token": "sentry"}},
            **mcp,
        )
    ]
    if oidc is not None:
        providers["clerk"] = clerk_shaped(oidc, url)
        revoking = str(DEFINITIONS / "sentry_shape_with_revocation.yaml")
        providers["revoking"] = sentry_shaped(django, definition=revoking)
        routes += [
            route("revoking", "/revoking", backend.api_url, providers=["revoking"]),
            route(
                "own-clerk",
                "/clerk",
                backend.mcp_url,
                providers=["clerk"],
                send={"authorization": {"provider_token": "clerk"}},
                permissions={name: {**item, "scopes": {}} for name, item in PERMISSIONS.items()},
            ),
            route("issues", "/mcp", backend.mcp_url, send={"headers": IDENTITY_HEADERS}, **mcp),
            route("signed", "/signed", backend.mcp_url, send={"authorization": "signed_jwt"}, **mcp),
            route("api", "/api", backend.api_url),
        ]
    return {"providers": providers, "routes": routes, "clients": [OFFICE, DESK]}


@pytest.fixture(scope="module")
def gate(
    servers_directory: Path, django_provider: DjangoProvider, oidc_provider: OidcProvider, _mcp_backend: McpBackend
) -> Iterator[Gateway]:
    """One gateway for all tests of this module, as its users run it."""
    need("vestibule")
    with gateway_with(
        servers_directory, lambda url: config_of(url, _mcp_backend, django_provider, oidc_provider)
    ) as gateway:
        yield gateway


@pytest.fixture
def ledger(gate: Gateway, mcp_backend: McpBackend, django_provider: DjangoProvider) -> Iterator[Ledger]:
    """Design decisions 14 and 20, gate rule 16: after each test its secrets are looked for."""
    ledger = Ledger(gate)
    yield ledger
    assert not ledger.seen_by(mcp_backend.seen())
    ledger.note_django(django_provider)
    assert not ledger.written()


@pytest.fixture(params=["sentry", "clerk"])
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


@pytest.fixture(params=["registers itself", "is pre-registered"])
def registration(request: pytest.FixtureRequest, mcp_client: ModuleType) -> Any:
    """What the client knows of itself beforehand: nothing (RFC 7591), or its id and secret (RFC 6749 §2.3.1)."""
    if request.param == "registers itself":
        return None
    return mcp_client.registered(OFFICE["id"], OFFICE["secret"])


def headers_of(result: Any) -> dict[str, str]:
    """What `whoami` says arrived; no name arrives twice."""
    pairs = result.structured_content["result"]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def desk(gate: Gateway) -> OAuthClient:
    return OAuthClient(gate.url, DESK["id"])


# --- the sign-in -----------------------------------------------------------------------------------------------------


async def test_a_real_client_signs_in_and_calls_tools(registration, shape, gate, ledger, mcp_client):
    """401, RFC 9728, RFC 8414, registration, consent, provider, code with PKCE, tokens, tools. The backend sees who
    calls (identity headers) and nothing of the key (gate rule 16).
    """
    person, storage = ledger.person(shape.approving("read")), mcp_client.Storage()
    async with mcp_client.connect(f"{gate.url}/mcp", person, client_info=registration, storage=storage) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        issue = await client.call_tool("get_issue", {"number": 1})
        arrived = headers_of(await client.call_tool("whoami"))
    ledger.note_tokens(storage.tokens.model_dump())
    ledger.note(storage.client_info.client_secret)
    assert {"get_issue", "create_issue"} <= tools
    assert issue.content[0].text == "Login page is blank"
    (user,) = query(gate, "SELECT id FROM users WHERE provider = ?", shape.provider)
    assert {name: arrived.get(name.lower()) for name in IDENTITY_HEADERS} == {
        "X-User-Id": user[0],
        "X-User-Email": shape.email,
        "X-User-Name": shape.name,
        "X-User-Provider": shape.provider,
        "X-Client": storage.client_info.client_id,
        "X-Scope": "read",
    }
    assert "authorization" not in arrived
    assert storage.tokens.scope == "read"


async def test_a_tool_outside_the_permissions_is_refused(registration, shape, gate, ledger, mcp_client, mcp_backend):
    """RFC 6750 §3.1 insufficient_scope with all scopes and `resource_metadata` (RFC 9728 §5.1), for the unmodified
    client and for a request by hand; what is refused never reaches the backend.
    """
    person, storage = ledger.person(shape.approving("read")), mcp_client.Storage()
    async with mcp_client.connect(f"{gate.url}/mcp", person, client_info=registration, storage=storage) as client:
        await client.list_tools()
        first = ledger.note_tokens(storage.tokens.model_dump())
        asked = len(person.pages)
        # The client asks its user for more (a step-up); the user ticks the same as before.
        with pytest.raises(mcp_client_error()):
            await client.call_tool("create_issue", {"title": "Not allowed"})
        assert len(person.pages) > asked
    ledger.note_tokens(storage.tokens.model_dump())
    ledger.note(storage.client_info.client_secret)

    reply = await call_tool(f"{gate.url}/mcp", first["access_token"], "create_issue", title="Not allowed")
    assert reply.status_code == 403
    challenge = reply.headers["www-authenticate"]
    metadata_url = f"{gate.url}/.well-known/oauth-protected-resource/mcp"
    assert challenge.startswith("Bearer ")
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="read write"' in challenge
    assert f'resource_metadata="{metadata_url}"' in challenge
    assert (await send("GET", metadata_url)).json()["resource"] == f"{gate.url}/mcp"
    lines = log_lines(gate, reply.json()["trace_id"])
    assert lines[-1]["reason"] == "permission_missing"
    assert not any("create_issue" in dict(request["headers"]).get("mcp-name", "") for request in mcp_backend.seen())


def mcp_client_error() -> type[Exception]:
    from mcp import MCPError  # noqa: PLC0415  # optional in a checkout without the test packages

    return MCPError


async def test_a_step_up_gives_the_missing_permission(gate, ledger, mcp_client):
    """MCP authorization, step-up: the client's second request names both scopes, and the user agrees."""
    person, storage = ledger.person(SENTRY.approving("read")), mcp_client.Storage()
    info = mcp_client.registered(DESK["id"])
    async with mcp_client.connect(f"{gate.url}/mcp", person, client_info=info, storage=storage) as client:
        await client.list_tools()
        ledger.note_tokens(storage.tokens.model_dump())
        person.answers["permission"] = ("read", "write")
        created = await client.call_tool("create_issue", {"title": "A new one"})
    ledger.note_tokens(storage.tokens.model_dump())
    assert not created.is_error
    assert storage.tokens.scope == "read write"


async def test_a_wrong_verifier_does_not_burn_the_code(shape, gate, ledger):
    """RFC 7636 §4.6: refused, and the rightful client still gets its keys, so a thief cannot spoil a sign-in."""
    client = desk(gate)
    code = await client.code(ledger.person(shape.approving("read")))
    before = made(gate)
    for verifier in ("w" * 43, None):
        refused = await client.redeem(code, code_verifier=verifier)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert made(gate) == before
    granted = await client.redeem(code)
    assert granted.status_code == 200
    tokens = ledger.note_tokens(granted.json())
    ledger.note(client.verifier)
    assert (await call_tool(f"{gate.url}/mcp", tokens["access_token"], "list_issues")).status_code == 200


# --- refresh and rotation --------------------------------------------------------------------------------------------


async def test_the_client_refreshes_by_itself(registration, shape, gate, ledger, mcp_client, monkeypatch):
    """RFC 6749 §6: an hour later by the client's own clock, its next call refreshes first; nobody is asked again.

    The client is unmodified and decides by `time.time()`; the gateway's clock, in another process, stays as it is.
    """
    person, storage = ledger.person(shape.approving("read")), mcp_client.Storage()
    async with mcp_client.connect(f"{gate.url}/mcp", person, client_info=registration, storage=storage) as client:
        await client.list_tools()
        first, asked = ledger.note_tokens(storage.tokens.model_dump()), len(person.pages)
        clock = time.time
        monkeypatch.setattr("time.time", lambda: clock() + first["expires_in"] + 1)
        await client.list_tools()
        second = ledger.note_tokens(storage.tokens.model_dump())
        monkeypatch.undo()
        assert not (await client.call_tool("get_issue", {"number": 1})).is_error
    ledger.note(storage.client_info.client_secret)
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    assert len(person.pages) == asked


async def test_rotation_repeats_a_lost_answer_and_forgives_a_race(gate, ledger):
    """Design decision 17: within 30 s the same answer again; once the successor was used, refused without harm."""
    client = desk(gate)
    first = ledger.note_tokens(await client.sign_in(ledger.person(CLERK.approving("read"))))
    answers = await asyncio.gather(*(client.refresh(first["refresh_token"]) for _ in range(5)))
    assert {reply.status_code for reply in answers} == {200}
    second = ledger.note_tokens(answers[0].json())
    assert [reply.json() for reply in answers] == [second] * 5
    third = ledger.note_tokens((await client.refresh(second["refresh_token"])).json())
    late = await client.refresh(first["refresh_token"])
    assert (late.status_code, late.json()["error"]) == (400, "invalid_grant")
    assert [line["reason"] for line in log_lines(gate, late.json()["trace_id"]) if "reason" in line] == [
        "refresh_token_late"
    ]
    reply = await call_tool(f"{gate.url}/mcp", third["access_token"], "list_issues")
    assert reply.status_code == 200


async def test_a_spent_refresh_token_is_taken_for_theft_later(gate, ledger):
    """RFC 9700 §4.14.2: a minute later its family is revoked, keys that are in the cache included; no other family."""
    client, other = desk(gate), desk(gate)
    first = ledger.note_tokens(await client.sign_in(ledger.person(CLERK.approving("read"))))
    kept = ledger.note_tokens(await other.sign_in(ledger.person(CLERK.approving("read"))))
    second = ledger.note_tokens((await client.refresh(first["refresh_token"])).json())
    for tokens in (first, second, kept):
        assert (await call_tool(f"{gate.url}/mcp", tokens["access_token"], "list_issues")).status_code == 200
    digest = sha256(first["refresh_token"].encode()).digest()
    change(gate, "UPDATE refreshes SET used_at = used_at - 120 WHERE digest = ?", digest)  # two minutes pass
    reused = await client.refresh(first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    for tokens, status in ((first, 401), (second, 401), (kept, 200)):
        assert (await call_tool(f"{gate.url}/mcp", tokens["access_token"], "list_issues")).status_code == status
    assert (await client.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"


# --- revocation ------------------------------------------------------------------------------------------------------


async def test_a_revoked_key_is_refused_on_the_next_request(gate, ledger):
    """RFC 7009 §2.1: dead at once, though it was in the cache; the family goes on with its refresh token."""
    client = desk(gate)
    tokens = ledger.note_tokens(await client.sign_in(ledger.person(SENTRY.approving("read"))))
    url = f"{gate.url}/mcp"
    assert (await call_tool(url, tokens["access_token"], "list_issues")).status_code == 200
    assert (await client.revoke(tokens["access_token"])).status_code == 200
    refused = await call_tool(url, tokens["access_token"], "list_issues")
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert (await client.refresh(tokens["refresh_token"])).status_code == 200


async def test_revoking_a_refresh_token_ends_its_keys(gate, ledger, django_provider):
    """RFC 7009 §2.1: the access tokens of the same authorization too, and no other authorization (design decision 11).
    The provider's tokens, which both share, end with the last of them.
    """
    client, url = desk(gate), f"{gate.url}/revoking/echo"
    answers = {**SENTRY.answers, "decision": "approve:revoking"}
    families = [ledger.note_tokens(await client.sign_in(ledger.person(answers), "/revoking")) for _ in range(2)]
    for number, tokens in enumerate(families):
        assert (await send("GET", url, headers=bearer(tokens["access_token"]))).status_code == 200
        before = django_provider.state("alice")["refresh_tokens"]
        assert (await client.revoke(tokens["refresh_token"])).status_code == 200
        assert (await send("GET", url, headers=bearer(tokens["access_token"]))).status_code == 401
        assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
        assert django_provider.state("alice")["refresh_tokens"] == before - number


async def test_a_key_revoked_by_the_operator_is_refused_within_100_ms(gate, ledger):
    """Design decision 16: `vestibule keys revoke` in another process reaches the running gateway in under 100 ms."""
    client = desk(gate)
    tokens = ledger.note_tokens(await client.sign_in(ledger.person(CLERK.approving()), "/api"))
    digest = sha256(tokens["access_token"].encode()).digest()
    ((key_id,),) = query(gate, "SELECT id FROM keys WHERE digest = ?", digest)
    async with httpx.AsyncClient(trust_env=False, headers=bearer(tokens["access_token"])) as http:
        assert (await http.get(f"{gate.url}/api/echo")).status_code == 200
        command = [program("vestibule") or "", "keys", "revoke", "--config", str(gate.config_file), key_id]
        revoked = Watch(gate, key_id)
        operator = await asyncio.create_subprocess_exec(*command, env=gate.env, stderr=asyncio.subprocess.PIPE)
        while (reply := await http.get(f"{gate.url}/api/echo")).status_code == 200:
            assert time.monotonic() - revoked.started < 20, "the key was never refused"
            await asyncio.sleep(0.002)
        refused = time.monotonic()
    _, told = await operator.communicate()
    assert (operator.returncode, reply.status_code) == (0, 401), told
    assert refused - revoked.seen() < 0.1


class Watch(threading.Thread):
    """Notes when the revocation is committed, by asking the database file every millisecond."""

    def __init__(self, gateway: Gateway, key_id: str) -> None:
        super().__init__(daemon=True)
        self._gateway, self._key_id = gateway, key_id
        self.started = time.monotonic()
        self._at = 0.0
        self.start()

    def run(self) -> None:
        while time.monotonic() - self.started < 20:
            asked = time.monotonic()
            if query(self._gateway, "SELECT 1 FROM keys WHERE id = ? AND revoked_at IS NOT NULL", self._key_id):
                self._at = asked
                return
            time.sleep(0.001)

    def seen(self) -> float:
        self.join()
        assert self._at, "the key was never revoked in the database"
        return self._at


# --- what the backend is told ----------------------------------------------------------------------------------------


async def test_the_backend_gets_a_signed_identity(shape, gate, ledger, mcp_client):
    """RFC 7519: a JWT of at most a minute for this very route, verified by the published key set (RFC 7517); of no use
    at the gate itself.
    """
    person, storage = ledger.person(shape.approving("read")), mcp_client.Storage()
    info = mcp_client.registered(OFFICE["id"], OFFICE["secret"])
    async with mcp_client.connect(f"{gate.url}/signed", person, client_info=info, storage=storage) as client:
        scheme, _, token = headers_of(await client.call_tool("whoami"))["authorization"].partition(" ")
    ledger.note_tokens(storage.tokens.model_dump())
    assert scheme == "Bearer"
    keys = JWKSet.from_json((await send("GET", f"{gate.url}/.well-known/jwks.json")).text)
    signed = JWS()
    signed.allowed_algs = ["ES256"]
    signed.deserialize(token)
    signed.verify(keys.get_key(signed.jose_header["kid"]))
    claims = json.loads(signed.payload)
    assert claims["iss"] == gate.url
    assert claims["aud"] == f"{gate.url}/signed"
    assert claims["client_id"] == OFFICE["id"]
    assert claims["scope"] == "read"
    assert claims.get("email", "") == shape.email
    assert (claims["sub"],) in query(gate, "SELECT id FROM users WHERE provider = ?", shape.provider)
    assert 0 < claims["exp"] - time.time() <= 60
    assert not any("d" in key for key in json.loads(keys.export(private_keys=False))["keys"])
    assert (await call_tool(f"{gate.url}/signed", token, "whoami")).status_code == 401


@pytest.mark.parametrize(("provider", "path"), [("sentry", "/sentry"), ("clerk", "/clerk")])
async def test_the_backend_gets_the_provider_s_own_token(
    provider, path, gate, mcp_client, mcp_backend, django_provider, oidc_provider
):
    """`send: {authorization: {provider_token: …}}`: the token that the backend received works at the provider, as the
    same person; the client's key is not there.
    """
    ledger, shape, storage = Ledger(gate), SHAPES[provider], mcp_client.Storage()
    async with mcp_client.connect(gate.url + path, ledger.person(shape.approving()), storage=storage) as client:
        scheme, _, token = headers_of(await client.call_tool("whoami"))["authorization"].partition(" ")
    ledger.note_tokens(storage.tokens.model_dump())
    ledger.note(token)
    assert scheme == "Bearer"
    if provider == "sentry":
        me = await send("GET", f"{django_provider.url}/api/0/me/", headers=bearer(token))
    else:
        me = await send("GET", f"{oidc_provider.url}/userinfo", headers=bearer(token))
    assert (me.status_code, me.json()["name"]) == (200, shape.name)
    ledger.note_django(django_provider)
    assert not ledger.seen_by(mcp_backend.seen(), allowed={token})
    assert not ledger.written()


async def test_twenty_requests_refresh_the_provider_s_token_once(start, servers_directory, tmp_path, mcp_backend):
    """Design decision 17: two minutes before the provider's token ends it is refreshed there, once for all requests
    that wait for it; each of them carries the new one, which is live. Before that nothing is refreshed.
    """
    provider = start(DjangoProvider(tmp_path, token_seconds=EARLY_SECONDS + 4))
    gate = start(gateway_with(tmp_path, lambda url: config_of(url, mcp_backend, provider)))
    ledger, client = Ledger(gate), desk(gate)
    tokens = ledger.note_tokens(await client.sign_in(ledger.person(SENTRY.approving("read")), "/sentry"))
    key, url = tokens["access_token"], f"{gate.url}/sentry"
    signed_in = time.monotonic()
    early = await asyncio.gather(*(call_tool(url, key, "whoami") for _ in range(5)))
    assert [reply.status_code for reply in early] == [200] * 5
    assert provider.state("alice")["calls"] == {"authorization_code": 1}
    await asyncio.sleep(signed_in + 4.2 - time.monotonic())

    mcp_backend.forget()
    replies = await asyncio.gather(*(call_tool(url, key, "list_issues") for _ in range(20)))
    assert [reply.status_code for reply in replies] == [200] * 20
    assert provider.state("alice")["calls"] == {"authorization_code": 1, "refresh_token": 1}
    (sent,) = {dict(request["headers"])["authorization"] for request in mcp_backend.seen()}
    me = await send("GET", f"{provider.url}/api/0/me/", headers={"authorization": sent})
    assert (me.status_code, me.json()["username"]) == (200, "alice")
    ledger.note_django(provider)
    assert not ledger.seen_by(mcp_backend.seen(), allowed={sent.removeprefix("Bearer ")})
    assert not ledger.written()


# --- streams ---------------------------------------------------------------------------------------------------------


async def test_progress_arrives_event_by_event(gate, ledger, mcp_client):
    """Server-sent events are flushed one by one: the slow tool's steps take half a second, and so do its events."""
    arrived: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        arrived.append(time.monotonic())

    person, storage = ledger.person(CLERK.approving("read")), mcp_client.Storage()
    async with mcp_client.connect(f"{gate.url}/mcp", person, storage=storage) as client:
        result = await client.call_tool("watch_issues", {"steps": 5}, progress_callback=note)
    ledger.note_tokens(storage.tokens.model_dump())
    ledger.note(storage.client_info.client_secret)
    assert result.content[0].text == "watched 5 steps"
    gaps = [later - earlier for earlier, later in pairwise(arrived)]
    assert len(gaps) == 4
    assert min(gaps) > 0.05, f"events came in one piece: {gaps}"


@pytest.mark.parametrize("kind", ["an MCP call", "a plain stream"])
async def test_a_client_that_leaves_ends_the_backend_request(kind, gate, ledger, mcp_backend):
    """A backend never works for nobody: the request that it answers is broken off within a second."""
    client = desk(gate)
    path = "/mcp" if kind == "an MCP call" else "/api"
    tokens = ledger.note_tokens(await client.sign_in(ledger.person(CLERK.approving()), path))
    mcp_backend.forget()
    request: dict[str, Any] = {"method": "GET", "url": f"{gate.url}/api/stream?events=300"}
    if path == "/mcp":
        request = {"method": "POST", "url": f"{gate.url}/mcp", **tool_call("watch_issues", steps=300)}
    headers = request.pop("headers", {}) | bearer(tokens["access_token"])
    async with (
        httpx.AsyncClient(trust_env=False, timeout=10) as http,
        http.stream(headers=headers, **request) as reply,
    ):
        assert reply.status_code == 200
        assert await anext(line async for line in reply.aiter_lines() if line.startswith("data:"))
        assert [seen["outcome"] for seen in mcp_backend.seen()] == ["open"]
    left = time.monotonic()
    assert await eventually(lambda: [seen["outcome"] for seen in mcp_backend.seen()] == ["broken"])
    assert time.monotonic() - left < 1


@pytest.mark.parametrize("how", ["by the client", "by the operator"])
async def test_a_stream_ends_with_its_key(how, gate, ledger, mcp_backend):
    """Design decision 16: an open stream does not outlive its key. It is cut, without the final chunk that would make
    it look complete, and the backend's request ends too.
    """
    client = desk(gate)
    tokens = ledger.note_tokens(await client.sign_in(ledger.person(CLERK.approving()), "/api"))
    digest = sha256(tokens["access_token"].encode()).digest()
    ((key_id,),) = query(gate, "SELECT id FROM keys WHERE digest = ?", digest)
    mcp_backend.forget()
    async with (
        httpx.AsyncClient(trust_env=False, timeout=10, headers=bearer(tokens["access_token"])) as http,
        http.stream("GET", f"{gate.url}/api/stream?events=300") as reply,
    ):
        lines = reply.aiter_lines()
        assert (await anext(lines)).startswith("id: 0")
        if how == "by the client":
            assert (await client.revoke(tokens["access_token"])).status_code == 200
        else:
            command = [program("vestibule") or "", "keys", "revoke", "--config", str(gate.config_file), key_id]
            operator = await asyncio.create_subprocess_exec(*command, env=gate.env, stderr=asyncio.subprocess.DEVNULL)
            assert await operator.wait() == 0
        revoked = time.monotonic()
        with pytest.raises(httpx.RemoteProtocolError):
            [line async for line in lines]
        assert time.monotonic() - revoked < 1
    assert await eventually(lambda: [seen["outcome"] for seen in mcp_backend.seen()] == ["broken"])
