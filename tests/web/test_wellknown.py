"""/.well-known/*: exact documents at exact addresses, readable from any origin; and CORS of all open endpoints."""

import json

import pytest

from gate.running import request

SERVER = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"


async def document(site, path: str):
    answer = await site.call("GET", path)
    assert (answer.status, answer["content-type"]) == (200, "application/json")
    return json.loads(answer.body)


@pytest.mark.parametrize("path", [SERVER, "/.well-known/openid-configuration"])
async def test_authorization_server(site, path):
    """RFC 8414 §2, §3.3: the issuer is `public_url` byte for byte, whatever Host was asked (design decision 6)."""
    plain = await site.call("GET", path)
    other = await site.call("GET", path, "Host: evil.example", "X-Forwarded-Host: evil.example")
    assert plain.body == other.body
    assert plain["cache-control"] == "public, max-age=300"
    found = json.loads(plain.body)
    assert found["issuer"] == "https://gate.example.com"
    assert {name: url for name, url in found.items() if name.endswith(("_endpoint", "_uri"))} == {
        "authorization_endpoint": "https://gate.example.com/oauth/authorize",
        "token_endpoint": "https://gate.example.com/oauth/token",
        "revocation_endpoint": "https://gate.example.com/oauth/revoke",
        "registration_endpoint": "https://gate.example.com/oauth/register",
        "jwks_uri": "https://gate.example.com/.well-known/jwks.json",
    }
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["client_id_metadata_document_supported"] is True
    assert "offline_access" not in found["scopes_supported"]


@pytest.mark.parametrize("path", ["/mcp", "/solo/deep"])
async def test_announced_endpoints_exist(site, path):
    """Only what is implemented is listed: no address in the metadata is a 404."""
    found = await document(site, SERVER)
    for name in (
        "authorization_endpoint",
        "token_endpoint",
        "revocation_endpoint",
        "registration_endpoint",
        "jwks_uri",
    ):
        answer = await site.call("GET", found[name].removeprefix("https://gate.example.com"))
        assert answer.status != 404
    assert (await document(site, RESOURCE + path))["authorization_servers"] == [found["issuer"]]


@pytest.mark.parametrize(
    ("path", "resource", "scopes"),
    [
        ("/mcp", "https://gate.example.com/mcp", ["read"]),
        ("/mcp/", "https://gate.example.com/mcp/", ["read"]),
        ("/solo/deep", "https://gate.example.com/solo/deep", ["access"]),
    ],
)
async def test_protected_resource(site, path, resource, scopes):
    """RFC 9728 §3.1, §3.3: `resource` equals the URL that the user typed, with the slash; scopes are the least."""
    found = await document(site, RESOURCE + path)
    assert found["resource"] == resource
    assert found["authorization_servers"] == ["https://gate.example.com"]
    assert found["scopes_supported"] == scopes
    assert found["bearer_methods_supported"] == ["header"]


@pytest.mark.parametrize(
    "path",
    [
        RESOURCE,
        RESOURCE + "/",
        RESOURCE + "/solo",
        RESOURCE + "/mcp/x",
        RESOURCE + "/mcp//",
        RESOURCE + "//mcp",
        RESOURCE + "/MCP",
        RESOURCE + "/mcpx",
        RESOURCE + "/%6dcp",
        RESOURCE + "/mcp%2F",
        RESOURCE + "/../mcp",
        SERVER + "/mcp",
        "/.well-known/openid-configuration/mcp",
        "/mcp/.well-known/openid-configuration",
        "/.well-known/nothing",
        "/.well-known",
        "/.well-known/",
    ],
)
async def test_not_found(site, path):
    """Protocol §1: a document for another URL would be refused by strict clients, where a 404 lets them go on. A parent
    is no resource, and with several routes the root names none.
    """
    answer = await site.call("GET", path)
    assert answer.status == (401 if path.startswith("/mcp/") else 404)


async def test_only_route_is_found_at_the_root(loopback_site):
    """Gemini CLI asks the root first; with one route there is one answer."""
    assert (await document(loopback_site, RESOURCE))["resource"] == "http://localhost:8000/mcp"
    assert (await document(loopback_site, SERVER))["issuer"] == "http://localhost:8000"


async def test_challenge_leads_to_the_document(site):
    """RFC 9728 §5.1: the address in the challenge answers, for both spellings of the route."""
    for path in ("/mcp", "/mcp/", "/solo/deep"):
        challenge = (await site.call("POST", path))["www-authenticate"]
        url = challenge.partition('resource_metadata="')[2].partition('"')[0]
        found = await document(site, url.removeprefix("https://gate.example.com"))
        assert found["resource"] == "https://gate.example.com" + path


async def test_key_set(site):
    """RFC 7517 §5: public keys only."""
    for key in (await document(site, "/.well-known/jwks.json"))["keys"]:
        assert key.keys() <= {"kty", "crv", "x", "y", "kid", "use", "alg"}


OPEN = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/nothing",
    "/oauth/token",
    "/oauth/revoke",
    "/oauth/register",
]


@pytest.mark.parametrize("path", OPEN)
async def test_preflight(site, path):
    """Protocol §13: OPTIONS unauthenticated, 204, for any origin, without credentials."""
    lines = ("Origin: https://any.example", "Access-Control-Request-Method: POST")
    answer = await site.exchange(request("OPTIONS", path, *lines), "OPTIONS")
    assert (answer.status, answer.body, answer["access-control-allow-origin"]) == (204, b"", "*")
    for name in ("Authorization", "Content-Type", "MCP-Protocol-Version"):
        assert name in answer["access-control-allow-headers"]
    assert "POST" in answer["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in dict(answer.headers)


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_every_answer_is_readable(site, path, method):
    """Errors, too: a browser client has to see why it was refused. One value, or browsers refuse both."""
    answer = await site.exchange(request(method, path, "Origin: https://any.example", body=b""), method)
    assert answer.all("access-control-allow-origin") == ["*"]
    assert "WWW-Authenticate" in answer["access-control-expose-headers"]
