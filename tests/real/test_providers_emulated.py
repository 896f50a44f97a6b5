"""Well-known providers, as far as look-alikes of them go: sign-in, refresh and the end, with the catalog's definitions.

The definitions here extend the catalog's and change where the provider is, and where a look-alike is less than its
original; each says so.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jwcrypto.jwk import JWK

from real.emulated import EMAIL, NAME, SERVICES, Emulated, pick
from real.evidence import Judge, change, log_lines, query
from real.gateway import Gateway
from real.mcp_backend import McpBackend
from real.oauth_client import REDIRECT_URI, OAuthClient, answer_of, bearer, send
from real.person import Page, Person
from real.processes import need
from real.shapes import DEFINITIONS, gateway_with, route

DESK = {"id": "desk", "name": "Desk", "redirect_uris": [REDIRECT_URI]}
APPLE_KEY = JWK.generate(kty="EC", crv="P-256").export_to_pem(private_key=True, password=None).decode()
STRICT_CLERK = "clerk-with-nonce"
TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The look-alike's directory of personal accounts, as at Microsoft."""


def params_of(service: str, url: str) -> dict[str, str]:
    match service:
        case "github":
            return {"base": url, "api": url}
        case "clerk":
            return {"issuer": url}
        case "okta":
            return {"domain": urlsplit(url).netloc}
        case "apple":
            return {"base": url, "team_id": "TEAM001", "key_id": "KEY001"}
    return {"base": url}


def config_of(servers: Emulated, backend: McpBackend) -> dict[str, Any]:
    providers: dict[str, Any] = {
        service: {
            "definition": str(DEFINITIONS / f"emulated_{service}.yaml"),
            "params": params_of(service, servers.url_of(service)),
            "client": dict(servers.apps[service]),
        }
        for service in SERVICES
    }
    providers["apple"]["client"]["key"] = APPLE_KEY
    providers["okta"]["scopes"] = ["groups"]
    providers[STRICT_CLERK] = providers["clerk"] | {"definition": str(DEFINITIONS / "clerk_shape.yaml")}
    routes = [
        route(
            name,
            f"/{name}",
            backend.api_url,
            providers=[name],
            send={
                "authorization": {"provider_token": name},
                "headers": {"X-Name": "name", "X-Email": "email", "X-Login": "login", "X-Groups": "groups"},
            },
        )
        for name in providers
    ]
    return {"providers": providers, "routes": routes, "clients": [DESK]}


@pytest.fixture(scope="module")
def _running(servers_directory: Path, scripts: Path, _mcp_backend: McpBackend) -> Iterator[tuple[Gateway, Emulated]]:
    """Each side is registered at the other under its address, so both are chosen before either runs."""
    need("vestibule")
    started: list[Emulated] = []

    def config(url: str) -> dict[str, Any]:
        names = {service: [service] for service in SERVICES} | {"clerk": ["clerk", STRICT_CLERK]}
        started.append(Emulated(scripts, lambda service: [f"{url}/oauth/callback/{name}" for name in names[service]]))
        return config_of(started[0], _mcp_backend)

    gateway = gateway_with(servers_directory, config)
    with started[0], gateway:
        yield gateway, started[0]


@pytest.fixture(scope="module")
def gate(_running: tuple[Gateway, Emulated]) -> Gateway:
    return _running[0]


@pytest.fixture(scope="module")
def emulated(_running: tuple[Gateway, Emulated]) -> Emulated:
    return _running[1]


@pytest.fixture
def judge(gate: Gateway) -> Iterator[Judge]:
    judge = Judge(gate)
    judge.ledger.note(*APPLE_KEY.split("\n"))
    yield judge
    judge.conclude()


VERIFIER = secrets.token_urlsafe(48)


def desk(gate: Gateway) -> OAuthClient:
    return OAuthClient(gate.url, DESK["id"], verifier=VERIFIER)


async def sign_in(judge: Judge, name: str) -> tuple[Person, Page | str]:
    """Consent, the provider's list of people, and back: by redirect, or by a form that posts itself."""
    gate = judge.gateway
    person = judge.ledger.person({"decision": f"approve:{name}"})
    consent = await person.visit(desk(gate).authorize_url(f"/{name}"))
    assert isinstance(consent, Page)
    page = await pick(person, await person.submit(consent, consent.forms[0]), REDIRECT_URI)
    if isinstance(page, Page) and page.forms and page.forms[0].action.startswith(gate.url):
        page = await person.submit(page, page.forms[0], until=REDIRECT_URI)
    return person, page


@pytest.fixture
async def keys(judge: Judge) -> AsyncIterator[Callable[[str], Any]]:
    """Frances signs in, and with the test her session ends. It answers with her and her tokens."""
    issued: list[dict[str, Any]] = []

    async def of(name: str) -> tuple[Person, dict[str, Any]]:
        person, arrived = await sign_in(judge, name)
        assert isinstance(arrived, str), arrived
        reply = await desk(judge.gateway).redeem(answer_of(arrived)["code"])
        assert reply.status_code == 200, reply.text
        judge.made_on_purpose()
        issued.append(judge.ledger.note_tokens(reply.json()))
        return person, issued[-1]

    yield of
    for tokens in issued:
        await desk(judge.gateway).revoke(tokens["refresh_token"])


async def sent_to_backend(judge: Judge, backend: McpBackend, name: str, tokens: dict[str, Any]) -> dict[str, str]:
    backend.forget()
    reply = await send("GET", f"{judge.gateway.url}/{name}/echo", headers=bearer(tokens["access_token"]))
    assert reply.status_code == 200, reply.text
    (request,) = backend.seen()
    headers = dict(request["headers"])
    judge.ledger.note(headers["authorization"].removeprefix("Bearer "))
    return headers


VERIFIED = {"github", "clerk", "google", "apple", "okta"}
"""Those that say that the address is verified; backends are told of no other."""
LOGINS = {"github": "frances", "slack": "frances", "linear": NAME, "okta": EMAIL, "microsoft": EMAIL}
WHO = {
    "github": ("GET", "/user", "login", "frances"),
    "clerk": ("GET", "/oauth/userinfo", "sub", "user_frances"),
    "google": ("GET", "/oauth2/v2/userinfo", "email", EMAIL),
    "slack": ("POST", "/api/auth.test", "user", "frances"),
    "okta": ("GET", "/oauth2/v1/userinfo", "sub", "00ufrances"),
    "microsoft": ("GET", "/v1.0/me", "mail", EMAIL),
}
"""How a token is tried at the look-alike's API; the others have none for it."""


async def is_hers(service: str, servers: Emulated, authorization: str) -> bool:
    if service not in WHO:
        return True
    method, path, field, value = WHO[service]
    me = (await send(method, servers.url_of(service) + path, headers={"authorization": authorization})).json()
    return bool(me.get(field) == value)


@pytest.mark.parametrize("service", SERVICES)
async def test_frances_signs_in(service, judge, keys, emulated, mcp_backend):
    """The catalog's definition: who she is, and a token that the provider's API takes for hers."""
    _, tokens = await keys(service)
    headers = await sent_to_backend(judge, mcp_backend, service, tokens)
    assert headers["x-name"] == NAME
    assert headers["x-login"] == LOGINS.get(service, "")
    assert headers["x-email"] == (EMAIL if service in VERIFIED else "")
    assert query(judge.gateway, "SELECT email, email_verified FROM users WHERE provider = ?", service) == [
        (EMAIL, service in VERIFIED)
    ]
    assert await is_hers(service, emulated, headers["authorization"])


@pytest.mark.parametrize("service", ["google", "apple", "linear", "okta", "microsoft"])
async def test_the_token_is_refreshed(service, judge, keys, emulated, mcp_backend):
    """A minute before its end: the provider gives another, which is hers too. (The others give no refresh token.)"""
    _, tokens = await keys(service)
    now, live = int(time.time()), "provider = ? AND ended_at IS NULL"
    change(
        judge.gateway,
        f"UPDATE connections SET refreshed_at = ?, expires_at = ? WHERE {live}",
        *(now - 3540, now + 60, service),
    )
    headers = await sent_to_backend(judge, mcp_backend, service, tokens)
    ((expires_at,),) = query(judge.gateway, f"SELECT expires_at FROM connections WHERE {live}", service)
    assert expires_at > now + 60
    assert await is_hers(service, emulated, headers["authorization"])


@pytest.mark.parametrize(
    ("service", "calls"),
    [
        ("google", [("POST", 200)]),
        ("apple", [("POST", 200)]),
        ("linear", [("POST", 200)]),
        ("okta", [("POST", 200)]),
        ("microsoft", []),
        ("clerk", []),
        ("github", [("DELETE", 404)]),  # the look-alike has no such endpoint
        ("slack", [("GET", 404)]),
    ],
)
async def test_the_end(service, calls, judge, keys):
    """With her last key the tokens are revoked, where the provider has a way to. Ours are dead whatever it says."""
    _, tokens = await keys(service)
    ended = await desk(judge.gateway).revoke(tokens["refresh_token"])
    assert ended.status_code == 200
    lines = log_lines(judge.gateway, ended.headers["x-trace-id"])
    assert [(line["method"], line["status"]) for line in lines if line["event"] == "outbound_call"] == calls
    assert any(line["event"] == "provider_revoke_failed" for line in lines) is (404 in dict(calls).values())
    refused = await send("GET", f"{judge.gateway.url}/{service}/echo", headers=bearer(tokens["access_token"]))
    assert refused.status_code == 401


@pytest.mark.parametrize(
    ("service", "sent"),
    [
        ("github", {"scope": "read:user user:email", "code_challenge_method": "S256"}),
        ("google", {"scope": "openid profile email", "access_type": "offline", "prompt": "consent"}),
        ("slack", {"user_scope": "users:read,users:read.email", "scope": None, "code_challenge": None}),
        ("apple", {"response_mode": "form_post", "scope": "name email"}),
        ("linear", {"scope": "read", "code_challenge_method": "S256"}),
        ("okta", {"scope": "openid profile email groups offline_access"}),
        ("microsoft", {"scope": "openid profile email offline_access"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_the_browser_carries(service, sent, judge, keys, emulated):
    """The quirks of the authorize request, as the provider got them."""
    person, _ = await keys(service)
    asked = answer_of(next(page.url for page in person.pages if page.url.startswith(emulated.url_of(service))))
    assert {name: asked.get(name) for name in sent} == sent
    assert asked["redirect_uri"] == f"{judge.gateway.url}/oauth/callback/{service}"


async def test_a_user_of_a_tenant(judge, keys):
    """Slack, Linear and Entra: an id is one only within its workspace or directory (design decision 7)."""
    for service in ("slack", "linear", "microsoft"):
        await keys(service)
    tenants = dict(query(judge.gateway, "SELECT DISTINCT provider, tenant FROM users WHERE tenant <> ''"))
    assert tenants.keys() == {"slack", "linear", "microsoft"}
    assert tenants["slack"] == "T000000001"
    assert tenants["microsoft"] == TENANT


async def test_groups_come_with_the_scope(judge, keys, mcp_backend):
    """Okta, `scopes: [groups]` in the config: they are there to be asked for by allow rules, and to be sent on."""
    _, tokens = await keys("okta")
    assert "staff" in (await sent_to_backend(judge, mcp_backend, "okta", tokens))["x-groups"]


async def test_apple_names_the_person_once(judge, keys):
    """The name comes with the first callback and never again; the next login does not erase it."""
    for _ in range(2):
        await keys("apple")
    assert query(judge.gateway, "SELECT name FROM users WHERE provider = 'apple'") == [(NAME,)]


async def test_an_id_token_without_the_nonce_is_refused(judge):
    """OIDC Core §3.1.3.7 step 11: what the look-alike of Clerk leaves out is not overlooked."""
    _, page = await sign_in(judge, STRICT_CLERK)
    judge.page(page, 502, "id_token_nonce", says="not set up correctly")
