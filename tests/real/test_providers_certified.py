"""A certified OpenID provider, held to the RFCs on its side: each way to authenticate a client, pushed requests, posted
callbacks, refresh with and without rotation, revocation. The gateway is the real one, in a process of its own.

What the gateway sent is read from the provider's notes, because this provider takes `basic` and `post` for each other.
"""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
import yaml
from jwcrypto.jwk import JWK

from real.evidence import Judge, change, query
from real.gateway import Gateway
from real.mcp_backend import McpBackend
from real.oauth_client import REDIRECT_URI, OAuthClient, answer_of, bearer, send
from real.oidc_provider import ERIN, FRED, CertifiedProvider
from real.person import Page, Person
from real.processes import need
from real.shapes import gateway_with, route

KEY = JWK.generate(kty="EC", crv="P-256", kid="ours")
PRIVATE_KEY = KEY.export_to_pem(private_key=True, password=None).decode()
UNUSED = secrets.token_urlsafe(32)
PUBLIC_KEYS = {"keys": [json.loads(KEY.export_public())]}

Entry = tuple[str, dict[str, Any], dict[str, Any]]
"""The client's authentication method, its other metadata, and the definition's difference to the catalog's `oidc`."""
ENTRIES: dict[str, Entry] = {
    "basic": ("client_secret_basic", {}, {}),
    "post": ("client_secret_post", {}, {"client": {"auth": "post"}}),
    "public": ("none", {}, {"client": {"auth": "none"}}),
    "key": (
        "private_key_jwt",
        {"jwks": PUBLIC_KEYS, "token_endpoint_auth_signing_alg": "ES256"},
        {"client": {"auth": "private_key_jwt", "jwt": {"alg": "ES256", "kid": "ours"}}},
    ),
    "hmac": ("client_secret_jwt", {}, {"client": {"auth": "client_secret_jwt"}}),
    "pushed": ("client_secret_basic", {}, {"authorize": {"par": {"when": None}}}),
    "pushed-key": (
        "private_key_jwt",
        {
            "jwks": PUBLIC_KEYS,
            "token_endpoint_auth_signing_alg": "ES256",
            "require_pushed_authorization_requests": True,
        },
        {
            "client": {"auth": "private_key_jwt", "jwt": {"alg": "ES256", "kid": "ours"}},
            "authorize": {"par": {"when": None}},
        },
    ),
    "posted": ("client_secret_basic", {}, {"callback": {"mode": "form_post"}}),
    "rotating": ("client_secret_basic", {}, {}),
    "keeping": ("client_secret_basic", {"rotation": "off"}, {}),
    "rotating-key": (
        "private_key_jwt",
        {"jwks": PUBLIC_KEYS, "token_endpoint_auth_signing_alg": "ES256"},
        {"client": {"auth": "private_key_jwt", "jwt": {"alg": "ES256", "kid": "ours"}}},
    ),
}
DESK = {"id": "desk", "name": "Desk", "redirect_uris": [REDIRECT_URI]}


def entry_of(
    provider: CertifiedProvider, directory: Path, gateway_url: str, name: str, entry: Entry, notes: dict[str, str]
) -> dict[str, Any]:
    """A client of its own for each entry, and a definition that extends the catalog's."""
    auth_method, metadata, difference = entry
    client = provider.register(f"{gateway_url}/oauth/callback/{name}", auth_method, **metadata)
    notes[name] = client["client_id"]
    path = directory / f"{name}-{secrets.token_hex(4)}.yaml"
    path.write_text(yaml.safe_dump({"extends": "oidc", **difference}))
    # Where none is needed there is one all the same, and the gateway keeps it to itself.
    ours = {"id": client["client_id"], "secret": client.get("client_secret", UNUSED)}
    if auth_method == "private_key_jwt":
        ours["key"] = PRIVATE_KEY
    return {"definition": str(path), "params": {"issuer": provider.url}, "client": ours}


def config_of(providers: dict[str, Any], backend: McpBackend) -> dict[str, Any]:
    """Each provider has a route of its own, whose backend is sent the provider's token."""
    routes = [
        route(
            name,
            f"/{name}",
            backend.api_url,
            providers=[name],
            send={"authorization": {"provider_token": name}, "headers": {"X-Email": "email", "X-Name": "name"}},
        )
        for name in providers
    ]
    return {"providers": providers, "routes": routes, "clients": [DESK]}


@pytest.fixture(scope="module")
def clients() -> dict[str, str]:
    """The gateway's client id by entry."""
    return {}


@pytest.fixture(scope="module")
def gate(
    servers_directory: Path, certified_provider: CertifiedProvider, _mcp_backend: McpBackend, clients: dict[str, str]
) -> Iterator[Gateway]:
    need("vestibule")

    def config(url: str) -> dict[str, Any]:
        providers = {
            name: entry_of(certified_provider, servers_directory, url, name, entry, clients)
            for name, entry in ENTRIES.items()
        }
        return config_of(providers, _mcp_backend)

    with gateway_with(servers_directory, config) as gateway:
        yield gateway


@pytest.fixture
def judge(gate: Gateway) -> Iterator[Judge]:
    judge = Judge(gate)
    judge.ledger.note(*PRIVATE_KEY.split("\n"))
    yield judge
    judge.conclude()


@pytest.fixture
def noted(certified_provider: CertifiedProvider, clients: dict[str, str]) -> Callable[[str, str], list[dict[str, Any]]]:
    """`noted("basic", "/token")`: what this entry sent there, oldest first."""

    def requests(name: str, path: str) -> list[dict[str, Any]]:
        return [request for request in certified_provider.requests(clients[name]) if request["path"] == path]

    return requests


def person_at(judge: Judge, name: str, who: dict[str, Any] = ERIN) -> Person:
    return judge.ledger.person({"decision": f"approve:{name}", "login": who["sub"], "password": "any"})


def desk(gate: Gateway) -> OAuthClient:
    return OAuthClient(gate.url, DESK["id"])


async def sign_in(judge: Judge, name: str, who: dict[str, Any] = ERIN) -> dict[str, Any]:
    tokens = await desk(judge.gateway).sign_in(person_at(judge, name, who), f"/{name}")
    judge.made_on_purpose()
    return judge.ledger.note_tokens(tokens)


async def sent_to_backend(judge: Judge, backend: McpBackend, name: str, tokens: dict[str, Any]) -> dict[str, str]:
    """The headers of a request that the backend got, the provider's token among them."""
    backend.forget()
    reply = await send("GET", f"{judge.gateway.url}/{name}/echo", headers=bearer(tokens["access_token"]))
    assert reply.status_code == 200, reply.text
    (request,) = backend.seen()
    headers = dict(request["headers"])
    judge.ledger.note(headers["authorization"].removeprefix("Bearer "))
    return headers


def age(gate: Gateway, name: str) -> None:
    """The provider's tokens have a minute left. A key of ours that was not used yet goes by this."""
    now = int(time.time())
    change(
        gate, "UPDATE connections SET refreshed_at = ?, expires_at = ? WHERE provider = ?", now - 3540, now + 60, name
    )


async def userinfo(provider: CertifiedProvider, authorization: str) -> httpx.Response:
    return await send("GET", f"{provider.url}/me", headers={"authorization": authorization})


def claims_of(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims; the provider has verified the signature."""
    parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in assertion.split(".")[:2]]
    header, claims = map(json.loads, parts)
    return header, claims


# --- signing in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["basic", "post", "public", "key", "hmac", "pushed", "pushed-key"])
async def test_a_person_signs_in(name, gate, judge, certified_provider, mcp_backend):
    """OIDC Core §3.1 with PKCE (RFC 7636): the person is known, and the provider's token works at the provider."""
    tokens = await sign_in(judge, name)
    headers = await sent_to_backend(judge, mcp_backend, name, tokens)
    assert (headers["x-email"], headers["x-name"]) == (ERIN["email"], ERIN["name"])
    me = await userinfo(certified_provider, headers["authorization"])
    assert me.json() == ERIN
    people = query(gate, "SELECT subject, email, email_verified FROM users WHERE provider = ?", name)
    assert (ERIN["sub"], ERIN["email"], 1) in people


@pytest.mark.parametrize("name", ["basic", "post", "public", "key", "hmac", "pushed-key"])
async def test_the_client_authenticates_in_one_way_only(name, gate, judge, clients, noted, certified_provider):
    """RFC 6749 §2.3: exactly one method; RFC 7521 §4.2 and RFC 7523 §3 for assertions, each used once."""
    await sign_in(judge, name)
    (request,) = noted(name, "/token")[-1:]
    form, client_id = request["form"], clients[name]
    sent = form.keys() & {"client_secret", "client_assertion"} | ({"basic"} if request["authorization"] else set())
    auth_method = ENTRIES[name][0]
    if auth_method == "client_secret_basic":
        scheme, _, value = request["authorization"].partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":")
        assert (scheme, unquote(user)) == ("Basic", client_id)
        assert unquote(password) == gate.config["providers"][name]["client"]["secret"]
        assert sent == {"basic"}
    elif auth_method == "client_secret_post":
        assert (sent, form["client_id"]) == ({"client_secret"}, client_id)
    elif auth_method == "none":
        assert (sent, form["client_id"]) == (set(), client_id)
    else:
        assert sent == {"client_assertion"}
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        header, claims = claims_of(form["client_assertion"])
        assert header["alg"] == ("ES256" if auth_method == "private_key_jwt" else "HS256")
        assert (claims["iss"], claims["sub"], claims["aud"]) == (client_id, client_id, certified_provider.url)
        assert claims["exp"] - claims["iat"] <= 300
        used = [claims_of(request["form"]["client_assertion"])[1]["jti"] for request in noted(name, "/token")]
        assert len(set(used)) == len(used)


@pytest.mark.parametrize("name", ["pushed", "pushed-key"])
async def test_a_request_is_pushed(name, gate, judge, clients, noted):
    """RFC 9126 §2.1 and §4: the parameters go from server to server, authenticated; through the browser go two."""
    person = person_at(judge, name)
    await desk(gate).code(person, f"/{name}")
    judge.made_on_purpose()
    (first,) = [page.url for page in person.pages if urlsplit(page.url).path == "/auth"][:1]
    assert parse_qs(urlsplit(first).query).keys() == {"client_id", "request_uri"}
    pushed = noted(name, "/request")[-1]
    assert pushed["form"].keys() >= {"response_type", "redirect_uri", "scope", "state", "nonce", "code_challenge"}
    assert pushed["form"]["code_challenge_method"] == "S256"
    assert bool(pushed["authorization"]) is (name == "pushed")
    assert ("client_assertion" in pushed["form"]) is (name == "pushed-key")


async def test_requests_are_pushed_where_discovery_demands_it(start, scripts, tmp_path, mcp_backend):
    """RFC 9126 §5 `require_pushed_authorization_requests`: the catalog's definition needs no word about it."""
    provider, notes = start(CertifiedProvider(scripts, par_required=True)), {}

    def config(url: str) -> dict[str, Any]:
        entry = entry_of(provider, tmp_path, url, "basic", ENTRIES["basic"], notes)
        return config_of({"basic": entry}, mcp_backend)

    judge = Judge(start(gateway_with(tmp_path, config)))
    assert (await sign_in(judge, "basic"))["access_token"]
    assert [request["path"] for request in provider.requests(notes["basic"])] == ["/request", "/token"]
    judge.conclude()


async def test_a_posted_callback_needs_no_cookie_on_the_way(gate, judge):
    """OAuth 2.0 Form Post Response Mode §2, design decision 4: a foreign page posts without our Lax cookie; the answer
    is a GET of ours, which only the browser that approved may open, and once.
    """
    person, stranger, client = person_at(judge, "posted"), judge.ledger.person({}), desk(gate)
    page = await posted_callback(person, client)
    callback = f"{gate.url}/oauth/callback/posted"
    held = await stranger.submit(page, page.forms[0], until=callback)
    assert isinstance(held, str)
    assert not {"code", "state"} & answer_of(held).keys()
    judge.page(await stranger.visit(held), 403, "login_of_other_browser", says="another browser")
    judge.conclude()
    arrived = await person.visit(held, until=REDIRECT_URI)
    assert isinstance(arrived, str)
    assert (await client.redeem(answer_of(arrived)["code"])).status_code == 200
    judge.made_on_purpose()
    judge.page(await person.visit(held), 400, "state_replayed", says="already used")


async def test_attack_posted_callback_in_the_query(gate, judge):
    """What has to be posted is not taken from a URL, which is seen by more eyes."""
    person, client = person_at(judge, "posted"), desk(gate)
    page = await posted_callback(person, client)
    (form,) = page.forms
    query_string = "&".join(f"{control.name}={control.value}" for control in form.controls if control.name)
    shown = await person.visit(f"{gate.url}/oauth/callback/posted?{query_string}")
    judge.page(shown, 400, "callback_not_posted")


async def posted_callback(person: Person, client: OAuthClient) -> Page:
    """The provider's page that posts itself to the gateway, before it does."""
    page = await person.visit(client.authorize_url("/posted"))
    for _ in range(2):
        assert isinstance(page, Page)
        page = await person.submit(page, next(form for form in page.forms if form.names() & person.answers.keys()))
    assert isinstance(page, Page)
    assert page.forms[0].action == f"{client.issuer}/oauth/callback/posted"
    return page


async def test_attack_code_injection(gate, judge):
    """RFC 9700 §4.5: a code out of the attacker's own login does not fit the verifier of the victim's, and the provider
    says so; the victim is told that the provider refused.
    """
    callback = f"{gate.url}/oauth/callback/basic"
    attacker, victim = person_at(judge, "basic"), person_at(judge, "basic")
    stolen = answer_of(await attacker.walk(desk(gate).authorize_url("/basic"), until=callback))["code"]
    arrived = await victim.walk(desk(gate).authorize_url("/basic"), until=callback)
    page = await victim.visit(arrived.replace(answer_of(arrived)["code"], stolen))
    judge.page(page, 403, "invalid_grant", says="did not sign you in")


async def test_attack_mix_up(gate, judge):
    """RFC 9207 §2.4: this provider names itself in every answer, so one without a name, or with another, is refused."""
    callback = f"{gate.url}/oauth/callback/basic"
    for issuer in ("&iss=https%3A%2F%2Fattacker.example", ""):
        person = person_at(judge, "basic")
        arrived = await person.walk(desk(gate).authorize_url("/basic"), until=callback)
        without = "&".join(part for part in arrived.split("&") if not part.startswith("iss="))
        judge.page(await person.visit(without + issuer), 403, "callback_issuer")


# --- afterwards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rotating", "keeping", "rotating-key"])
async def test_the_provider_s_token_is_refreshed(name, judge, noted, mcp_backend, certified_provider):
    """RFC 6749 §6: three times in a row, with the refresh token that is good at the time. Where it rotates, the old one
    would end everything (RFC 9700 §4.14.2); where it does not, the first one lives on.
    """
    tokens, client, seen = await sign_in(judge, name), desk(judge.gateway), []
    before = len(noted(name, "/token"))
    for _ in range(3):
        age(judge.gateway, name)
        tokens = judge.ledger.note_tokens((await client.refresh(tokens["refresh_token"])).json())
        seen.append(await sent_to_backend(judge, mcp_backend, name, tokens))
    judge.made_on_purpose()
    assert len({headers["authorization"] for headers in seen}) == 3
    assert (await userinfo(certified_provider, seen[-1]["authorization"])).status_code == 200
    refreshes = noted(name, "/token")[before:]
    assert [request["form"]["grant_type"] for request in refreshes] == ["refresh_token"] * 3
    assert not any(request["form"].keys() & {"code", "code_verifier", "redirect_uri"} for request in refreshes)
    used = [request["form"]["refresh_token"] for request in refreshes]
    assert len(set(used)) == (1 if name == "keeping" else 3)


async def test_a_session_ends_when_the_provider_ends_it(judge, noted, mcp_backend, certified_provider):
    """Design decision 17: the refresh token was revoked at the provider, which says `invalid_grant`; the client is told
    to sign in again, and after that all is well.
    """
    name = "rotating"
    tokens = await sign_in(judge, name)
    (issued,) = noted(name, "/token")[-1:]
    headers = {"authorization": issued["authorization"]}
    form = {"token": issued["reply"]["refresh_token"]}
    assert (
        await send("POST", f"{certified_provider.url}/token/revocation", data=form, headers=headers)
    ).status_code == 200
    age(judge.gateway, name)
    refused = await send("GET", f"{judge.gateway.url}/{name}/echo", headers=bearer(tokens["access_token"]))
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert (await desk(judge.gateway).refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    tokens = await sign_in(judge, name)
    assert (await sent_to_backend(judge, mcp_backend, name, tokens))["authorization"]


@pytest.mark.parametrize("name", ["basic", "post", "public", "key", "hmac"])
async def test_the_provider_s_tokens_end_with_the_last_key(name, judge, noted, mcp_backend, certified_provider):
    """RFC 7009 §2.1, with the same client authentication as everywhere: the provider's tokens are dead there too."""
    first, last = [await sign_in(judge, name, FRED) for _ in range(2)]
    sent = await sent_to_backend(judge, mcp_backend, name, last)
    client = desk(judge.gateway)
    assert (await client.revoke(first["refresh_token"])).status_code == 200
    assert (await userinfo(certified_provider, sent["authorization"])).status_code == 200
    assert (await client.revoke(last["refresh_token"])).status_code == 200
    assert len(noted(name, "/token/revocation")) == 1
    assert (await userinfo(certified_provider, sent["authorization"])).status_code == 401
