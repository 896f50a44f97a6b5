"""Which requests pass the gate, and how the others are refused. "Nothing forwarded" is asked of the backend itself."""

import asyncio
import contextlib
import json
from copy import copy
from ipaddress import ip_network

import pytest
from msgspec import structs

from gate.running import ACME, HOST, request
from vestibule import server
from vestibule.storage import keys

METADATA = "https://gate.example.com/.well-known/oauth-protected-resource"


def challenge(path: str, scope: str, error: str | None = None, description: str | None = None) -> str:
    parts = {"error": error, "error_description": description, "scope": scope, "resource_metadata": METADATA + path}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parts.items() if value is not None)


INVALID = "The key is unknown, expired, revoked, or for another resource."
INSUFFICIENT = "The key lacks a permission that this request needs."


# --- which path decides ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/apix", "/Api", "/nothing", "/mcp.", "/oauthx", "//api", "/%61pi", "/api%2Fx"])
async def test_unknown_route_is_404(gate, backend, path):
    """Design decision 20: what no route claims is refused, with or without a key, and never challenged."""
    for key in (None, await gate.key("api")):
        answer = await gate.call("GET", path, key=key)
        assert (answer.status, answer["www-authenticate"]) == (404, "")
        assert json.loads(answer.body)["error"] == "no_route"
    assert backend.calls == []


@pytest.mark.parametrize("path", ["/oauth/x", "/.well-known/x", "/account", "/auth/x", "/oauth", "/health/x"])
async def test_reserved_paths_come_first(gate, backend, path):
    """Design decision 10: they are the control plane's, a key changes nothing."""
    answer = await gate.call("GET", path, key=await gate.key("api"))
    assert answer.status == 404
    assert json.loads(answer.body)["error"] == "not_found"
    assert backend.calls == []


async def test_health_and_metadata_need_no_key(gate, backend):
    """Gate rule 4: outside the gate."""
    assert (await gate.call("GET", "/health")).status == 200
    assert (await gate.call("GET", "/.well-known/oauth-protected-resource/mcp")).status == 200
    assert backend.calls == []


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api", b"/v1"),
        ("/api/", b"/v1/"),
        ("/api/x", b"/v1/x"),
        ("/api/administrator", b"/v1/administrator"),
        ("/api?q", b"/v1?q"),
        ("/items", b"/"),
        ("/items/7?a=b", b"/7?a=b"),
    ],
)
async def test_what_follows_the_route_follows_the_backends_path(gate, backend, path, target):
    """Routes match whole segments; `/mcp` and `/mcp/` alike are gated (protocol §16)."""
    route = path.split("/")[1].split("?")[0]
    assert (await gate.call("GET", path)).status == 401
    assert (await gate.call("GET", path, key=await gate.key(route))).status == 200
    assert backend.call.target == target


@pytest.mark.parametrize("path", ["/api/admin", "/api/admin/", "/api/admin/keys"])
async def test_attack_key_of_api_on_api_admin(gate, backend, path):
    """Nested routes: the longest match alone decides, so the parent's key is a key for another resource."""
    answer = await gate.call("GET", path, key=await gate.key("api"))
    assert (answer.status, json.loads(answer.body)["error"], backend.calls) == (401, "invalid_token", [])
    assert (await gate.call("GET", path, key=await gate.key("admin"))).status == 200
    assert backend.call.target.startswith(b"/admin")


@pytest.mark.parametrize(
    "path",
    [
        "/api/../mcp",
        "/api/./x",
        "/api/x/..",
        "/api/%2e%2e/mcp",
        "/api/.%2E/mcp",
        "/api//admin",
        "/api/x//",
        "/api/%2Fadmin",
        "/api/a%2fb",
        "/api/a%5cb",
        "/api/a\\b",
        "/api/;x/admin",
        "/api/x;y=z",
        "/api/x%3b",
        "/api/%00",
        "/api/x%0d%0aX-User:y",
        "/api/%252e%252e",
        "/api/%61dmin",
        "/api/%c0%ae",
        "/api/%",
        "/api/%zz",
    ],
)
async def test_attack_ambiguous_path(gate, backend, path):
    """CVE-2026-32871, CVE-2026-33494: refused with a good key in hand, and the backend hears nothing of it."""
    answer = await gate.call("GET", path, key=await gate.key("api"))
    assert answer.status == 400
    assert backend.calls == []


async def test_ambiguous_path_where_the_route_allows_it(gate, backend):
    """Design decision 21: a route may opt in; the bytes stay as they are."""
    assert (await gate.call("GET", "/lax/a%2Fb//c;d", key=await gate.key("lax"))).status == 200
    assert backend.call.target == b"/lax/a%2Fb//c;d"


@pytest.mark.parametrize("path", [b"/api/\xff", b"/api/\xc3\xbc", b"/api/\x01", b"*", b"api", b"/api/ x", b""])
async def test_attack_target_that_is_no_path(gate, backend, path):
    """RFC 9112 §3.2: refused by the parser or by us, but never forwarded."""
    answer = await gate.call("GET", path, key=await gate.key("api"))
    assert 400 <= answer.status < 500
    assert backend.calls == []


@pytest.mark.parametrize("target", ["http://gate.example.com/api/x", "http://evil.example/api/x", "HTTP://u@h:1/api/x"])
async def test_attack_absolute_form(gate, backend, target):
    """RFC 9112 §3.2.2: it names a second host beside the Host header, and the two may differ."""
    assert (await gate.call("GET", target, key=await gate.key("api"))).status == 400
    assert backend.calls == []


# --- who may pass ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "scope"), [("/mcp", "read"), ("/mcp/", "read"), ("/mcp/sse", "read"), ("/api", "access")]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PROPFIND"])
async def test_no_key(gate, backend, path, scope, method):
    """Protocol §15, RFC 6750 §3: challenge without `error`; every method is gated, not only MCP-shaped requests."""
    answer = await gate.call(method, path)
    slash = "/mcp/" if path == "/mcp/" else path.removesuffix("/sse")
    assert (answer.status, answer.all("www-authenticate")) == (401, [challenge(slash, scope)])
    assert answer["cache-control"] == "no-store"
    assert backend.calls == []


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Basic YTpi",
        "Authorization: Digest x",
        "Authorization: Bearer",
        "Authorization: Bearer ",
        "Authorization: ",
        "Authorization: vst_at_x",
        "X-Api-Key: vst_at_x",
        "Proxy-Authorization: Bearer x",
        "Cookie: access_token=x",
    ],
)
async def test_other_credentials_count_as_none(gate, backend, line):
    """RFC 6750 §3.1: an unsupported method of authentication is answered as if there was none."""
    answer = await gate.call("GET", "/api", line)
    assert (answer.status, answer["www-authenticate"]) == (401, challenge("/api", "access"))
    assert backend.calls == []


async def test_bad_keys(gate, backend):
    """RFC 6750 §3.1: expired, revoked, malformed, unknown, truncated or for another resource: `invalid_token`, and the
    answer does not say which.
    """
    good = await gate.key("api")
    revoked = await gate.key("api")
    assert (await gate.call("GET", "/api", key=revoked)).status == 200
    await gate.revoke(revoked)
    bad = {
        "expired": await gate.key("api", seconds=-1),
        "revoked": revoked,
        "of another route": await gate.key("mcp"),
        "of a person that the route does not admit": await gate.key("admin", who="ci"),
        "unknown": "vst_at_" + "0" * 43 + "000000",
        "truncated": good[:-1],
        "longer": good + "0",
        "not ours": "eyJhbGciOiJub25lIn0.e30.",
        "two": f"{good} {good}",
        "latin-1": "vst_at_\xe9",
    }
    seen = len(backend.calls)
    for name, key in bad.items():
        path = "/api/admin" if "person" in name else "/api"
        answer = await gate.call("GET", path, key=key)
        assert (name, answer.status) == (name, 401)
        assert answer.all("www-authenticate") == [challenge(path, "access", "invalid_token", INVALID)]
        document = json.loads(answer.body)
        assert document.pop("trace_id") == answer["x-trace-id"]
        assert document == {"error": "invalid_token", "error_description": INVALID}
    assert len(backend.calls) == seen


async def test_attack_revocation_leaves_access_alive(gate, backend):
    """Design decision 16: revocation of a family is effective at once, though its key was cached."""
    key = await gate.key("api")
    assert (await gate.call("GET", "/api", key=key)).status == 200
    await gate.revoke(key, family=True)
    assert (await gate.call("GET", "/api", key=key)).status == 401
    assert len(backend.calls) == 1


async def test_attack_refresh_token_used_as_access_token(gate, backend):
    """Its digest is in another table, so it opens nothing."""
    answer = await gate.call("GET", "/api", key=(await gate.key("api")).replace("_at_", "_rt_"))
    assert (answer.status, backend.calls) == (401, [])


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "BeArEr", "Bearer "])
async def test_scheme_in_any_case(gate, backend, scheme):
    """RFC 9110 §11.1: the scheme is case-insensitive."""
    key = await gate.key("api")
    assert (await gate.call("GET", "/api", f"Authorization: {scheme} {key}")).status == 200
    assert b"authorization" not in backend.call.names


async def test_attack_two_authorization_headers(gate, backend):
    """Two readers could take different ones: refused, whichever is good."""
    line = f"Authorization: Bearer {await gate.key('api')}"
    for lines in ([line, line], ["Authorization: Basic YTpi", line], [line, "Authorization: "]):
        assert (await gate.call("GET", "/api", *lines)).status == 400
    assert backend.calls == []


@pytest.mark.parametrize("query", ["access_token=KEY", "a=b&access_token=KEY", "access_token=", "access%5ftoken=KEY"])
async def test_key_in_the_query_is_refused(gate, backend, logged, query):
    """OAuth 2.1 §5.1: it would be in logs and histories, and go to the backend; also beside a good header."""
    key = await gate.key("api")
    for sent in (None, key):
        answer = await gate.call("GET", "/api?" + query.replace("KEY", key), key=sent)
        assert answer.status == 400
        assert json.loads(answer.body)["error"] == "key_in_query"
    assert backend.calls == []
    assert key not in str(logged)


async def test_names_like_access_token_are_the_backends(gate, backend):
    """Only the parameter itself is refused."""
    query = "my_access_token=1&x=access_token=2&access_tokens=3"
    assert (await gate.call("GET", f"/api?{query}", key=await gate.key("api"))).status == 200
    assert backend.call.target == f"/v1?{query}".encode()


async def test_missing_permission(gate, backend):
    """Protocol §15: 403 `insufficient_scope` that names all scopes needed at once, those at hand included."""
    answer = await gate.call("POST", "/items/7", key=await gate.key("items", "read"), body=b"{}")
    assert answer.status == 403
    assert answer.all("www-authenticate") == [challenge("/items", "read write", "insufficient_scope", INSUFFICIENT)]
    assert json.loads(answer.body)["error"] == "insufficient_scope"
    assert backend.calls == []
    assert (await gate.call("POST", "/items/7", key=await gate.key("items", "write"), body=b"{}")).status == 200


async def test_no_challenge_for_what_nobody_can_obtain(gate, backend):
    """Protocol §15: no permission covers DELETE here, so a step-up challenge would make clients loop."""
    answer = await gate.call("DELETE", "/items/7", key=await gate.key("items", "read", "write"))
    assert (answer.status, answer["www-authenticate"], backend.calls) == (403, "", [])
    assert json.loads(answer.body)["error"] == "not_permitted"


async def test_no_challenge_for_services(gate, backend):
    """Design decision 13: nobody can sign in for a service, so it gets a plain 403."""
    key = await gate.key("items", "read", who="ci")
    assert (await gate.call("GET", "/items", key=key)).status == 200
    assert (await gate.call("POST", "/items/7", key=key, body=b"{}")).status == 403
    answer = await gate.call("POST", "/items/7", key=key, body=b"{}")
    assert (answer.status, answer["www-authenticate"]) == (403, "")
    assert len(backend.calls) == 1


async def test_key_whose_permissions_are_no_longer_configured(gate, backend):
    """Design decision 9: granted ∩ configured; empty is 403."""
    answer = await gate.call("GET", "/items", key=await gate.key("items", "gone"))
    assert (answer.status, answer["www-authenticate"], backend.calls) == (403, "", [])


# --- what the backend is told ----------------------------------------------------------------------------------------


async def test_identity_of_a_person(gate, backend):
    """Names and claims as configured, percent-encoded; the client's key, and its own claims, do not pass."""
    key = await gate.key("api")
    lines = ("X-User-Id: mallory", "x_user_email: mallory@evil.example", "X-Groups: admins", "X-Forwarded-For: 1.2.3.4")
    assert (await gate.call("GET", "/api", *lines, key=key)).status == 200
    told = {name: backend.call.all(name) for name in (b"x-user-email", b"x-user-name", b"x_groups", b"x-groups")}
    assert told == {
        b"x-user-email": [b"ada@acme.com"],
        b"x-user-name": [b"Ada Lovelace"],
        b"x_groups": [b"team/a,%C3%BC"],
        b"x-groups": [],
    }
    assert backend.call.all(b"x-user-id") != [b"mallory"]
    assert backend.call.all(b"x-forwarded-for") == [b"127.0.0.1"]
    assert backend.call.all(b"x-forwarded-proto") == [b"https"]
    assert backend.call.all(b"x-forwarded-host") == [HOST.encode()]
    assert key.encode() not in backend.call.head


async def test_identity_of_a_service(gate, backend):
    """RFC 9700 §4.15: `client:<id>` can be no person's id; unknown claims are sent empty, so no other can be added."""
    await gate.call("GET", "/api", "X-User-Email: ada@acme.com", key=await gate.key("api", who="ci"))
    assert backend.call.all(b"x-user-id") == [b"client:ci"]
    assert backend.call.all(b"x-user-email") == [b""]


async def test_unverified_email_is_not_told(gate, backend):
    """CVE-2026-40574: an address that the provider did not verify may be anybody's."""
    who = structs.replace(ACME, subject="8", email_verified=False)
    await gate.call("GET", "/api", key=await gate.key("api", who=who))
    assert backend.call.all(b"x-user-email") == [b""]


async def test_identity_header_that_is_too_long(gate, backend):
    """Design: a size cap that fails loudly; a cut list of groups would be another list."""
    who = structs.replace(ACME, subject="9", groups=tuple(f"group-{number}" for number in range(1000)))
    answer = await gate.call("GET", "/api", key=await gate.key("api", who=who))
    assert (answer.status, answer["retry-after"], backend.calls) == (503, "5", [])


async def test_static_authorization(gate, backend):
    """`send: {authorization: {static: …}}` replaces the client's key."""
    await gate.call("GET", "/static", key=await gate.key("static"))
    assert backend.call.all(b"authorization") == [b"Bearer of-the-backend"]


async def test_signed_identity(gate, backend):
    """`send: {authorization: signed_jwt}`: not the client's key, and verifiable by the published key set."""
    key = await gate.key("signed")
    await gate.call("GET", "/signed", key=key)
    (value,) = backend.call.all(b"authorization")
    assert value.startswith(b"Bearer ey")
    assert value.count(b".") == 2


async def test_our_cookies_do_not_reach_the_backend(gate, backend):
    """Design decision 5."""
    await gate.call("GET", "/api", "Cookie: a=1; __Host-vestibule_form=x; b=2", key=await gate.key("api"))
    assert backend.call.all(b"cookie") == [b"a=1; b=2"]


# --- malformed requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: a", "Host: b"],
        [f"Host: {HOST}", f"Host: {HOST}"],
    ],
    ids=str,
)
async def test_attack_two_hosts(gate, backend, lines):
    """RFC 9112 §3.2: 400, in HTTP/1.0 too."""
    data = request("GET", "/api", *lines, key=await gate.key("api"))
    for raw in (data, data.replace(b"HTTP/1.1", b"HTTP/1.0")):
        assert (await gate.exchange(raw)).status == 400
    assert backend.calls == []


async def test_no_host(gate, backend):
    """RFC 9112 §3.2: 400 in HTTP/1.1; HTTP/1.0 knows no Host."""
    data = request("GET", "/api", key=await gate.key("api")).replace(f"Host: {HOST}\r\n".encode(), b"")
    assert (await gate.exchange(data)).status == 400
    assert backend.calls == []
    assert (await gate.exchange(data.replace(b"HTTP/1.1", b"HTTP/1.0"))).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example/api/admin?", "127.0.0.1:1", ""])
async def test_attack_host_changes_the_path(gate, backend, host):
    """CVE-2026-48710, design decision 6: Host decides nothing, and what the backend is told comes from the config."""
    assert (await gate.call("GET", "/nothing", f"Host: {host}", key=await gate.key("admin"))).status == 404
    await gate.call("GET", "/api", f"Host: {host}", key=await gate.key("api"))
    for call in backend.calls:
        assert call.all(b"host") == [f"127.0.0.1:{backend.port}".encode()]
        assert call.all(b"x-forwarded-host") == [HOST.encode()]


BODY = "5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 5", "Transfer-Encoding: chunked"], BODY),
        (["Transfer-Encoding: chunked", "Content-Length: 15"], BODY),
        (["Content-Length: 5", "Content-Length: 5"], "hello"),
        (["Content-Length: 5", "Content-Length: 6"], "hello!"),
        (["Content-Length: 5, 5"], "hello"),
        (["Content-Length: +5"], "hello"),
        (["Content-Length: -5"], "hello"),
        (["Content-Length: 0x5"], "hello"),
        (["Content-Length: 5 5"], "hello"),
        (["Content-Length: "], "hello"),
        (["Transfer-Encoding: identity"], "hello"),
        (["Transfer-Encoding: chunked, identity"], BODY),
        (["Transfer-Encoding: identity, chunked"], BODY),
        (["Transfer-Encoding: gzip, chunked"], BODY),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], BODY),
        (["Transfer-Encoding: xchunked"], BODY),
        (["Transfer-Encoding: \x0bchunked"], BODY),
        (["Transfer-Encoding : chunked"], BODY),
        (["Transfer-Encoding: chunked"], "5 \r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], "5\nhello\n0\n\n"),
        (["Transfer-Encoding: chunked"], "-5\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], "5\r\nhelloworld\r\n0\r\n\r\n"),
    ],
    ids=repr,
)
async def test_attack_request_smuggling(gate, backend, lines, body):
    """RFC 9112 §6.1, §6.3, §7.1: what two parsers could frame differently is refused, and no body is passed on."""
    answer = await gate.exchange(request("POST", "/api", *lines, key=await gate.key("api")) + body.encode(), "POST")
    assert answer.status == 400
    assert all(not call.body for call in backend.calls)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api HTTP/1.1\r\nHost: a\r\nX-A: b\r\n folded\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nX A: b\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nX-A : b\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\n: b\r\n",
        b"GET /api HTTP/1.1\r\n Host: a\r\n",
        b"GET /api HTTP/1.1\nHost: a\n",
        b"GET /api HTTP/9.9\r\nHost: a\r\n",
        b"GET /api\r\n",
        b"G(T /api HTTP/1.1\r\nHost: a\r\n",
    ],
    ids=repr,
)
async def test_attack_malformed_head(gate, backend, head):
    """RFC 9112 §2.2, §5: obs-fold, NUL, bare CR or LF, odd spaces: 400."""
    key = await gate.key("api")
    answer = await gate.exchange(head + f"Authorization: Bearer {key}\r\n\r\n".encode())
    assert answer.status == 400
    assert backend.calls == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "TRACK"])
async def test_attack_trace_and_connect(gate, backend, method):
    """RFC 9110 §9.3.6, §9.3.8: a tunnel through the gate, or an echo of the key."""
    key = await gate.key("api")
    for target in ("/api", f"127.0.0.1:{backend.port}"):
        answer = await gate.call(method, target, key=key)
        assert answer.status in {400, 404}
    assert backend.calls == []


async def test_attack_h2c_upgrade(gate, backend):
    """A backend that took the upgrade would speak HTTP/2 past the gate: neither the header nor the answer passes."""
    lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    key = await gate.key("api")
    assert (await gate.call("GET", "/api", *lines, key=key)).status == 200
    assert not {b"upgrade", b"http2-settings", b"connection"} & backend.call.names
    backend.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0")
    answer = await gate.call("GET", "/api", *lines, key=key)
    assert (answer.status, answer["upgrade"]) == (502, "")


async def test_websocket_is_refused(gate, backend):
    """Design decision 21: `Upgrade` goes no further, so a handshake is answered as the plain request that is left."""
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    assert (await gate.call("GET", "/api", *lines)).status == 401
    assert (await gate.call("GET", "/api", *lines, key=await gate.key("api"))).status == 200
    assert not {b"upgrade", b"connection"} & backend.call.names
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await gate.dispatcher({"type": "websocket", "raw_path": b"/api", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_attack_pipelined_request_behind_a_refusal(gate, backend):
    """Each request on a connection is judged alone."""
    key = await gate.key("api")
    async with gate.connect() as wire:
        await wire.send(
            request("GET", "/api/1", key=key) + request("GET", "/api/2") + request("GET", "/api/3", key=key)
        )
        answers = [await wire.answer() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 401, 200]
    assert [call.target for call in backend.calls] == [b"/v1/1", b"/v1/3"]


# --- failing closed, and what is written down -------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["judge", "effective", "admit", "match"])
async def test_attack_exception_lets_nothing_through(gate, backend, monkeypatch, logged, where):
    """CVE-2026-12773: whatever goes wrong inside the gate, the request is denied and the error is logged."""
    key = await gate.key("api")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    route = gate.gateway.routes["api"]
    owner = {
        "judge": type(route.permissions),
        "effective": type(route.permissions),
        "admit": type(gate.dispatcher._access),
        "match": type(gate.gateway.table),
    }[where]
    monkeypatch.setattr(owner, where, broken)
    answer = await gate.call("GET", "/api", key=key)
    assert (answer.status, answer["retry-after"], backend.calls) == (503, "5", [])
    assert b"boom" not in answer.body
    assert [entry["event"] for entry in logged] == ["gate_failed", "request"]


async def test_attack_revocation_passes_while_a_key_is_admitted(gate, backend, monkeypatch):
    """Decision 16: a request that waited for a provider's token, say, must not go on with a dead key."""
    key = await gate.key("api")
    admit = type(gate.dispatcher._access).admit

    async def late(access, text, route):
        admission = await admit(access, text, route)
        gate.gateway.cache.forget(lambda entry: entry.key.id == admission.key.id)
        return admission

    monkeypatch.setattr(type(gate.dispatcher._access), "admit", late)
    answer = await gate.call("GET", "/api", key=key)
    assert (answer.status, backend.calls) == (401, [])
    assert 'error="invalid_token"' in answer["www-authenticate"]


async def test_attack_database_fails(gate, backend, monkeypatch):
    """An unknown key, and a database that cannot be asked: denied."""
    key = await gate.key("api")

    async def broken(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(keys, "find_key_facts", broken)
    assert (await gate.call("GET", "/api", key=key)).status == 503
    monkeypatch.undo()
    assert backend.calls == []
    assert (await gate.call("GET", "/api", key=key)).status == 200


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736", False),
        ('00-"}{"4b34da6a3ce929d0e0e4736aaaaa-00f067aa0ba902b7-01', False),
    ],
)
async def test_trace_id(gate, backend, logged, value, taken):
    """W3C Trace Context §3.2.2.3: the caller's, if it is one; it is in the answer and in the log, and passes on."""
    answer = await gate.call("GET", "/api", f"traceparent: {value}", key=await gate.key("api"))
    assert (answer["x-trace-id"] == value.split("-")[1]) is taken
    assert len(answer["x-trace-id"]) == 32
    assert logged[-1]["trace_id"] == answer["x-trace-id"]
    assert backend.call.all(b"traceparent") == [value.encode()]


async def test_access_log(gate, logged):
    """Operations: one line a request, with who, what and the outcome; no query, key, cookie or header value."""
    key = await gate.key("api")
    await gate.call("GET", "/api/x?secret=1", "Cookie: secret=1", "X-Secret: secret", key=key)
    (entry,) = [entry for entry in logged if entry["event"] == "request"]
    assert {name: entry[name] for name in ("method", "path", "status", "route", "client_id")} == {
        "method": "GET",
        "path": "/api/x",
        "status": 200,
        "route": "api",
        "client_id": "portal",
    }
    assert entry["sub"]
    assert entry["ms"] > 0
    assert "reason" not in entry
    assert "secret" not in str(logged)
    assert key not in str(logged)


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/api", 401, "key_missing"),
        ("GET", "/nothing", 404, "no_route"),
        ("GET", "/api/..", 400, "path_dot_segment"),
        ("TRACE", "/api", 400, "method_refused"),
        ("GET", "/oauth/nothing", 404, None),
    ],
)
async def test_access_log_of_refusals(gate, logged, method, path, status, reason):
    """The stable slug says why; the answer repeats it, except for keys."""
    await gate.call(method, path + "?secret")
    (entry,) = [entry for entry in logged if entry["event"] == "request"]
    assert (entry["status"], entry.get("reason")) == (status, reason)
    assert "secret" not in str(logged)


async def test_log_does_not_grow_with_the_path(gate, logged):
    """A line of the log is bounded."""
    await gate.call("GET", "/api/" + "x" * 5000)
    assert len(logged[-1]["path"]) == 512


async def test_attack_dns_rebinding_on_dev(gate):
    """`vestibule dev` serves its own host names only: 421 (RFC 9110 §15.5.20)."""
    dispatcher = copy(gate.dispatcher)
    dispatcher._hosts = frozenset({"localhost:8000"})
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "raw_path": b"/nothing", "query_string": b""}
    for host, status in ((b"evil.example", 421), (b"LOCALHOST:8000", 404), (b"localhost:8001", 421)):
        sent.clear()
        await dispatcher({**scope, "headers": [(b"host", host)]}, None, send)
        assert sent[0]["status"] == status


@pytest.mark.parametrize(
    ("peer", "told", "sent"),
    [
        ("10.1.2.3", ["203.0.113.9"], "203.0.113.9, 10.1.2.3"),
        ("10.1.2.3", ["203.0.113.9", "10.9.9.9"], "203.0.113.9, 10.9.9.9, 10.1.2.3"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("::1", ["203.0.113.9"], "203.0.113.9, ::1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("::2", ["203.0.113.9"], "::2"),
        (None, ["203.0.113.9"], "unknown"),
    ],
)
async def test_attack_spoofed_forwarded_for(gate, peer, told, sent):
    """CVE-2025-59152, design decision 6: believed from configured peers only; the real peer always comes last."""
    dispatcher = copy(gate.dispatcher)
    trusted = (ip_network("10.0.0.0/8"), ip_network("::1"))
    dispatcher._gateway = structs.replace(gate.gateway, trusted_proxies=trusted)
    scope = {"client": peer and (peer, 1), "headers": [(b"x-forwarded-for", value.encode()) for value in told]}
    assert dict(dispatcher._forwarded(scope))[b"x-forwarded-for"] == sent.encode()


async def test_attack_endless_head(gate, backend):
    """431 (RFC 6585 §5): headers are held in memory, so there is an end to them."""
    async with gate.connect() as wire:
        with contextlib.suppress(ConnectionError):
            await wire.send(b"GET /api HTTP/1.1\r\n" + b"X-A: 1\r\n" * 20_000)
        assert (await wire.head()).status == 431
    assert backend.calls == []


async def test_attack_slow_head(gate, backend, monkeypatch):
    """408 (RFC 9110 §15.5.9): slowloris."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    async with gate.connect() as wire:
        await wire.send(b"GET /api HTTP/1.1\r\nX-A: ")
        assert (await wire.answer()).status == 408
    assert backend.calls == []


async def test_concurrent_requests_are_not_mixed_up(gate, backend):
    """CVE-2026-71326: each answer goes to who asked, with the identity of the key that was sent."""

    async def script(call):
        await call.read_body()
        await asyncio.sleep(0.01 if int(call.target[-1:]) % 2 else 0)
        body = call.target + b" " + call.all(b"x-user-id")[0] + b" " + call.body
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    backend.script = script
    people = [await gate.key("api", who=structs.replace(ACME, subject=f"p{number}")) for number in range(5)]
    subjects = {}
    for key in people:
        subjects[key] = (await gate.call("GET", "/api/0", key=key)).body.split()[1]
    assert len(set(subjects.values())) == 5
    wanted = [(people[number % 5], f"/api/{number}", b"%d" % number) for number in range(60)]
    answers = await asyncio.gather(*(gate.call("PUT", path, key=key, body=body) for key, path, body in wanted))
    for (key, path, body), answer in zip(wanted, answers, strict=True):
        assert answer.body == path.replace("/api", "/v1").encode() + b" " + subjects[key] + b" " + body
