"""CORS of gated routes (Fetch §3.2): what is answered here, what is forwarded, and which origins may ask."""

import pytest

APP = "https://app.example.com"
ORIGIN = f"Origin: {APP}"
ASKS = "Access-Control-Request-Method: POST"


@pytest.mark.parametrize("origin", [APP, "https://gate.example.com"])
async def test_preflight_is_answered_here(gate, backend, origin):
    """Protocol §13: without a key, from the route's origins and our own, and never forwarded."""
    answer = await gate.call("OPTIONS", "/mcp", f"Origin: {origin}", ASKS)
    assert (answer.status, answer.body, backend.calls) == (204, b"", [])
    assert answer["access-control-allow-origin"] == origin
    assert answer["access-control-allow-methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    assert answer["access-control-allow-headers"] == (
        "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, Last-Event-ID"
    )
    assert answer["vary"] == "Origin"
    assert "access-control-allow-credentials" not in dict(answer.headers)


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("mcp-param-region, Mcp-Param-Tenant-Id", "mcp-param-region, mcp-param-tenant-id"),
        ("authorization,mcp-param-a", "mcp-param-a"),
        ("mcp-param-\t a", ""),
        ("mcp-param-, mcp-param-a b, mcp-param-a:b, x-mcp-param-a, mcp-param-" + "a" * 80, ""),
        ("x-other", ""),
    ],
)
async def test_preflight_allows_parameters_by_name(gate, asked, allowed):
    """Protocol §13: `Mcp-Param-*` names are validated one by one, since a wildcard does not cover Authorization."""
    answer = await gate.call("OPTIONS", "/mcp", ORIGIN, ASKS, f"Access-Control-Request-Headers: {asked}")
    assert answer.status == 204
    assert answer["access-control-allow-headers"].partition("Last-Event-ID")[2].removeprefix(", ") == allowed


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/deeper", "/api/x"])
async def test_preflight_of_every_path_under_a_route(gate, backend, path):
    """The preflight of whatever a key could open."""
    assert (await gate.call("OPTIONS", path, ORIGIN, ASKS)).status == 204
    assert backend.calls == []


@pytest.mark.parametrize("lines", [[], [ORIGIN], [ASKS], [ORIGIN, "Access-Control-Request-Headers: x-a"]], ids=len)
async def test_other_options_requests_are_gated_and_forwarded(gate, backend, lines):
    """Fetch §3.2.2: OPTIONS is a preflight only with Origin and a requested method; any other is a request."""
    assert (await gate.call("OPTIONS", "/api", *lines)).status == 401
    assert backend.calls == []
    key = await gate.key("api")
    assert (await gate.call("OPTIONS", "/api", *lines, key=key)).status == 200
    assert backend.call.method == b"OPTIONS"


async def test_attack_get_with_preflight_headers_is_no_preflight(gate, backend):
    """Only the method OPTIONS is answered without a key."""
    assert (await gate.call("GET", "/api", ORIGIN, ASKS)).status == 401
    assert backend.calls == []


@pytest.mark.parametrize(
    "lines",
    [
        ["Origin: https://evil.example"],
        ["Origin: null"],
        ["Origin: http://app.example.com"],
        ["Origin: https://app.example.com:8443"],
        ["Origin: https://app.example.com.evil.example"],
        ["Origin: https://APP.example.com"],
        ["Origin: "],
        [ORIGIN, ORIGIN],
        [ORIGIN, "Origin: https://evil.example"],
        ["Origin: https://app.example.com, https://evil.example"],
    ],
    ids=str,
)
async def test_attack_dns_rebinding_by_foreign_origin(gate, backend, lines):
    """MCP streamable HTTP: `Origin`, when sent, is validated; a good key does not help (protocol §16)."""
    key = await gate.key("mcp")
    for method, more in (("OPTIONS", [ASKS]), ("GET", [])):
        answer = await gate.call(method, "/mcp", *lines, *more, key=key)
        assert answer.status == 403
        assert answer["access-control-allow-origin"] == answer["www-authenticate"] == ""
    assert backend.calls == []


async def test_origin_of_another_route_does_not_count(gate, backend):
    """The allow-list is per route; the gateway's own origin may call every one."""
    key = await gate.key("items")
    assert (await gate.call("GET", "/items", ORIGIN, key=key)).status == 403
    assert (await gate.call("GET", "/items", "Origin: https://gate.example.com", key=key)).status == 200
    assert len(backend.calls) == 1


async def test_allowed_origin_may_read_the_answer(gate, backend):
    """Protocol §13: exposed are the headers that MCP clients read; the backend's own CORS is replaced."""
    backend.answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/plain\r\nMcp-Session-Id: 7\r\n"
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Other\r\n\r\n"
    )
    answer = await gate.call("GET", "/api", ORIGIN, key=await gate.key("api"))
    assert answer.all("access-control-allow-origin") == [APP]
    assert answer.all("access-control-expose-headers") == ["WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version"]
    assert answer["vary"] == "Origin"
    assert answer["mcp-session-id"] == "7"


async def test_allowed_origin_may_read_refusals(gate):
    """A browser client finds the authorization server through the challenge, so it has to be readable."""
    answer = await gate.call("POST", "/mcp", ORIGIN, body=b"{}")
    assert (answer.status, answer["access-control-allow-origin"]) == (401, APP)
    assert "WWW-Authenticate" in answer["access-control-expose-headers"]
    assert answer["www-authenticate"].startswith("Bearer ")


async def test_request_without_origin_is_not_affected(gate, backend):
    """Native clients send none, and get no CORS headers."""
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert answer.status == 200
    assert not [name for name, _ in answer.headers if name.startswith(b"access-control-")]


async def test_preflight_of_an_unknown_route(gate):
    """Design decision 20: fail closed."""
    assert (await gate.call("OPTIONS", "/nothing", ORIGIN, ASKS)).status == 404
