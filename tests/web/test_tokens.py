"""The endpoints for programs as HTTP: /oauth/token, /oauth/revoke, /oauth/register."""

import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio

from gate.running import request
from web.browser import VERIFIER, authorize_url, query_of
from web.conftest import SECRET

FORM = {"content-type": "application/x-www-form-urlencoded"}
PORTAL = {"client_id": "portal", "client_secret": SECRET}
REGISTRATION = {"client_name": "A", "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none"}


def basic(client: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}


@pytest_asyncio.fixture(loop_scope="session")
async def http(site) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site.url, trust_env=False, verify=False) as http:
        yield http


@pytest_asyncio.fixture(loop_scope="session")
async def grant(browser) -> dict[str, str]:
    """The form that redeems a fresh code, without the client's authentication."""
    code = query_of(await browser.sign_in(authorize_url("portal", scope="read write")))["code"]
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": "https://portal.example.com/callback",
        "code_verifier": VERIFIER,
        "resource": "https://gate.example.com/mcp",
    }


# --- token -----------------------------------------------------------------------------------------------------------


async def test_token_response(http, grant):
    """RFC 6749 §5.1: JSON, never cached; what was granted is said."""
    response = await http.post("/oauth/token", data=grant | PORTAL)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["access-control-allow-origin"] == "*"
    document = response.json()
    assert document["access_token"].startswith("vst_at_")
    assert document["refresh_token"].startswith("vst_rt_")
    assert (document["token_type"], document["scope"]) == ("Bearer", "read write")
    assert 0 < document["expires_in"] <= 3600
    again = await http.post(
        "/oauth/token", data={"grant_type": "refresh_token", "refresh_token": document["refresh_token"]} | PORTAL
    )
    assert again.status_code == 200
    assert again.json()["access_token"] != document["access_token"]


async def test_basic_authentication(http, grant):
    """RFC 6749 §2.3.1; the Python MCP client sends the same client_id in the body, too."""
    response = await http.post("/oauth/token", data=grant | {"client_id": "portal"}, headers=basic("portal", SECRET))
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("change", "headers", "status", "error"),
    [
        ({"client_secret": "wrong"}, {}, 401, "invalid_client"),
        ({"client_id": "nobody"}, {}, 401, "invalid_client"),
        ({"client_secret": None, "client_id": None}, {}, 401, "invalid_client"),
        ({"client_secret": None, "client_id": None}, basic("portal", "wrong"), 401, "invalid_client"),
        ({"client_secret": None, "client_id": None}, {"authorization": "Basic %%%"}, 401, "invalid_client"),
        ({"client_secret": None, "client_id": None}, {"authorization": "Bearer x"}, 401, "invalid_client"),
        ({}, basic("portal", SECRET), 400, "invalid_request"),
        ({"client_secret": None, "client_id": "public"}, basic("portal", SECRET), 400, "invalid_request"),
        ({"client_id": "public", "client_secret": None}, {}, 400, "invalid_grant"),
        ({"grant_type": None}, {}, 400, "invalid_request"),
        ({"grant_type": ""}, {}, 400, "invalid_request"),
        ({"grant_type": "password"}, {}, 400, "unsupported_grant_type"),
        ({"code": None}, {}, 400, "invalid_request"),
        ({"code": "x"}, {}, 400, "invalid_grant"),
        ({"code_verifier": "w" * 43}, {}, 400, "invalid_grant"),
        ({"code_verifier": None}, {}, 400, "invalid_grant"),
        ({"redirect_uri": "https://portal.example.com/other"}, {}, 400, "invalid_grant"),
        ({"resource": "https://gate.example.com/solo/deep"}, {}, 400, "invalid_target"),
        ({"resource": "not a uri"}, {}, 400, "invalid_target"),
    ],
    ids=str,
)
async def test_token_errors(http, grant, logged, change, headers, status, error):
    """RFC 6749 §5.2: JSON with a trace id, never cached; 401 with a challenge when Basic was used. The code is not
    used up by any of it, so nobody can burn another's.
    """
    form = {name: value for name, value in (grant | PORTAL | change).items() if value is not None}
    response = await http.post("/oauth/token", data=form, headers=headers)
    document = response.json()
    assert (response.status_code, document["error"]) == (status, error)
    assert document.keys() == {"error", "error_description", "trace_id"}
    assert document["trace_id"] == response.headers["x-trace-id"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["access-control-allow-origin"] == "*"
    challenged = status == 401 and headers.get("authorization", "").startswith("Basic")
    assert response.headers.get("www-authenticate", "").startswith("Basic ") is challenged
    assert SECRET not in str(logged)
    assert grant["code"] not in str(logged)
    assert (await http.post("/oauth/token", data=grant | PORTAL)).status_code == 200


@pytest.mark.parametrize("name", ["grant_type", "code", "client_id", "code_verifier", "unknown"])
async def test_repeated_parameter(http, grant, name):
    """RFC 6749 §3.2: parameters must not be repeated, also those that nobody knows."""
    body = urlencode([*(grant | PORTAL).items(), (name, "x"), (name, "x")])
    response = await http.post("/oauth/token", content=body, headers=FORM)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "kind",
    ["application/json", "multipart/form-data; boundary=x", "text/plain", "", FORM["content-type"] + "; charset=x"],
)
async def test_wrong_content_type(http, grant, kind):
    """RFC 6749 §3.2: a second format would be a second set of rules."""
    body = json.dumps(grant | PORTAL) if "json" in kind else urlencode(grant | PORTAL)
    response = await http.post("/oauth/token", content=body, headers={"content-type": kind})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("size", [100_000, 3_000_000])
@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/register"])
async def test_huge_body(site, path, size):
    """Refused before it is parsed; JSON all the same, and readable across origins."""
    kind = "application/json" if path.endswith("register") else FORM["content-type"]
    for framing in ("length", "chunks"):
        head = request("POST", path, f"Content-Type: {kind}", *(["Transfer-Encoding: chunked"] * (framing == "chunks")))
        if framing == "length":
            data = request("POST", path, f"Content-Type: {kind}", body=b"a" * size)
        else:
            data = head + b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"a" * size)
        answer = await site.exchange(data, "POST")
        assert answer.status in {400, 413}
        assert json.loads(answer.body)["error"] in {"invalid_request", "invalid_client_metadata"}
        assert answer["access-control-allow-origin"] == "*"
        assert answer["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/register"])
async def test_other_methods(http, path):
    """RFC 6749 §3.2: POST only; 405 names it."""
    response = await http.get(path)
    assert (response.status_code, set(response.headers["allow"].split(", "))) == (405, {"OPTIONS", "POST"})
    assert response.json()["error"] == "invalid_request"


async def test_token_in_the_query_is_not_read(http, grant):
    """RFC 6749 §3.2: parameters are in the body; a query would be in logs."""
    response = await http.post("/oauth/token?" + urlencode(grant | PORTAL), headers=FORM)
    assert response.status_code == 401


async def test_provider_tokens_are_never_returned(http, grant):
    """Gateway attacks: no endpoint gives away what the provider gave us."""
    document = (await http.post("/oauth/token", data=grant | PORTAL)).json()
    assert document.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}


# --- revoke ----------------------------------------------------------------------------------------------------------


async def test_revocation(http, grant):
    """RFC 7009 §2.2: 200 and an empty answer; a refresh token takes its family along."""
    keys = (await http.post("/oauth/token", data=grant | PORTAL)).json()
    response = await http.post("/oauth/revoke", data={"token": keys["refresh_token"]} | PORTAL)
    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["cache-control"] == "no-store"
    form = {"grant_type": "refresh_token", "refresh_token": keys["refresh_token"]} | PORTAL
    assert (await http.post("/oauth/token", data=form)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"token": "unknown"} | PORTAL, 200, None),
        ({"token": "unknown", "token_type_hint": "nonsense"} | PORTAL, 200, None),
        (PORTAL, 400, "invalid_request"),
        ({"token": "unknown"}, 401, "invalid_client"),
        ({"token": "unknown", "client_id": "portal", "client_secret": "wrong"}, 401, "invalid_client"),
    ],
    ids=str,
)
async def test_revocation_answers(http, form, status, error):
    """RFC 7009 §2.2: an unknown token is a success; the client must authenticate all the same."""
    response = await http.post("/oauth/revoke", data=form)
    assert (response.status_code, response.json().get("error")) == (status, error)


async def test_attack_revoking_the_token_of_another_client(http, grant):
    """RFC 7009 §2.1: refused, and the token lives on."""
    keys = (await http.post("/oauth/token", data=grant | PORTAL)).json()
    for token in (keys["access_token"], keys["refresh_token"]):
        response = await http.post("/oauth/revoke", data={"token": token, "client_id": "public"})
        assert (response.status_code, response.json()["error"]) == (400, "unauthorized_client")
    form = {"grant_type": "refresh_token", "refresh_token": keys["refresh_token"]} | PORTAL
    assert (await http.post("/oauth/token", data=form)).status_code == 200


# --- register --------------------------------------------------------------------------------------------------------


async def test_registration(http):
    """RFC 7591 §3.2.1: 201, never cached; the same public client registering again gets the same id."""
    first = await http.post("/oauth/register", json=REGISTRATION)
    assert (first.status_code, first.headers["cache-control"]) == (201, "no-store")
    assert "client_secret" not in first.json()
    again = await http.post("/oauth/register", json=REGISTRATION)
    assert again.json()["client_id"] == first.json()["client_id"]
    confidential = await http.post("/oauth/register", json=REGISTRATION | {"token_endpoint_auth_method": None})
    assert confidential.json()["client_secret"]


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"{", "application/json", "invalid_client_metadata"),
        (b"[]", "application/json", "invalid_client_metadata"),
        (b"{}", "application/json", "invalid_redirect_uri"),
        (b'{"redirect_uris":["http://evil.example"]}', "application/json", "invalid_redirect_uri"),
        (b'{"redirect_uris":["javascript:alert(1)"]}', "application/json", "invalid_redirect_uri"),
        (json.dumps(REGISTRATION).encode(), "text/plain", "invalid_client_metadata"),
        (json.dumps(REGISTRATION).encode(), "", "invalid_client_metadata"),
        (b"\xff\xfe", "application/json", "invalid_client_metadata"),
        (b"[" * 50_000, "application/json", "invalid_client_metadata"),
    ],
    ids=repr,
)
async def test_registration_errors(http, body, kind, error):
    """RFC 7591 §3.2.2: 400 with a code; `text/plain` would be a request that any page can make without preflight."""
    response = await http.post("/oauth/register", content=body, headers={"content-type": kind})
    assert (response.status_code, response.json()["error"]) == (400, error)
    assert response.json()["trace_id"] == response.headers["x-trace-id"]


async def test_registration_switched_off(loopback_site):
    """`registration: {dcr: false}`: refused and not announced."""
    async with httpx.AsyncClient(base_url=loopback_site.url, trust_env=False, verify=False) as http:
        assert (await http.post("/oauth/register", json=REGISTRATION)).status_code in {400, 403, 404}
        metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
    assert "registration_endpoint" not in metadata
