"""The providers in JavaScript keep what the tests of the gateway rely on. No gateway takes part here."""

import base64
import hashlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from jwcrypto.jwk import JWK
from jwcrypto.jwt import JWT

from real.emulated import EMAIL, SERVICES, Emulated, pick
from real.mock_server import ABSENT, MockServer
from real.node_server import SCRIPTS, request
from real.oidc_provider import ERIN, CertifiedProvider
from real.person import Person
from real.processes import free_port, program

CALLBACK = "http://127.0.0.1:40404/oauth/callback/it"
VERIFIER = "a-verifier-that-only-this-client-knows-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
KEY = JWK.generate(kty="EC", crv="P-256", kid="1")
ANSWERS = {"login": ERIN["sub"], "password": "any"}


def get(url: str, **arguments: Any) -> httpx.Response:
    return request("GET", url, **arguments)


def post(url: str, form: dict[str, str], **arguments: Any) -> httpx.Response:
    return request("POST", url, data=form, **arguments)


def answer_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def request_of(client_id: str, **change: str | None) -> dict[str, str]:
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": "openid profile email",
        "state": "a state",
        "nonce": "a nonce",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | change
    return {name: value for name, value in query.items() if value is not None}


def claims_of(id_token: str) -> dict[str, Any]:
    part = id_token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_script_ends_with_its_parent(scripts):
    """Whoever started it was killed, and could end nothing."""
    port = free_port()
    command = [program("node") or "", str(scripts / "malformed.mjs"), str(port)]
    parent = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *command])
    deadline = time.monotonic() + 10
    while not listens(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while listens(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_packages_come_from_whatever_registry_is_set(scripts):
    """The lock file pins versions and hashes, and no address: a mirror serves as well."""
    lock = json.loads((SCRIPTS / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")]
    assert not [name for name, package in packages.items() if package.get("hasInstallScript")]
    assert not scripts.joinpath("node_modules").resolve().is_relative_to(SCRIPTS.parents[2])


# --- the certified provider ------------------------------------------------------------------------------------------


def credentials(client: dict[str, Any], auth_method: str, audience: str) -> dict[str, Any]:
    """Arguments for `post` that authenticate this client (RFC 6749 §2.3.1, RFC 7523 §2.2)."""
    client_id, secret = client["client_id"], client.get("client_secret", "")
    if auth_method == "client_secret_basic":
        return {"auth": (client_id, secret)}
    form = {"client_id": client_id}
    if auth_method == "client_secret_post":
        form["client_secret"] = secret
    if auth_method.endswith("_jwt"):
        now = int(time.time())
        claims = {"iss": client_id, "sub": client_id, "aud": audience, "jti": str(time.time_ns()), "exp": now + 60}
        if auth_method == "private_key_jwt":
            token = JWT(header={"alg": "ES256", "kid": "1"}, claims=claims)
            token.make_signed_token(KEY)
        else:
            token = JWT(header={"alg": "HS256"}, claims=claims)
            token.make_signed_token(JWK.from_password(secret))
        form |= {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": token.serialize(),
        }
    return {"extra": form}


def token(provider: CertifiedProvider, client: dict[str, Any], auth_method: str, **form: str) -> httpx.Response:
    arguments = credentials(client, auth_method, provider.url)
    return post(f"{provider.url}/token", form | arguments.pop("extra", {}), **arguments)


async def code_from(provider: CertifiedProvider, query: dict[str, str]) -> str:
    arrived = await Person(ANSWERS).walk(f"{provider.url}/auth?{urlencode(query)}", until=CALLBACK)
    assert answer_of(arrived)["iss"] == provider.url  # RFC 9207 §2
    return answer_of(arrived)["code"]


def registered(provider: CertifiedProvider, auth_method: str, **metadata: Any) -> dict[str, Any]:
    if auth_method == "private_key_jwt":
        metadata["jwks"] = {"keys": [json.loads(KEY.export_public())]}
    return provider.register(CALLBACK, auth_method, **metadata)


@pytest.mark.parametrize(
    "auth_method", ["client_secret_basic", "client_secret_post", "none", "private_key_jwt", "client_secret_jwt"]
)
async def test_the_certified_provider_holds_a_client_to_its_method(auth_method, certified_provider):
    """OIDC Core §9: the registered method works and a weaker one does not. Basic and post it takes for each other, so
    which of them the gateway uses is read from its requests.
    """
    client = registered(certified_provider, auth_method)
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    code = await code_from(certified_provider, request_of(client["client_id"]))
    other = "none" if auth_method in {"client_secret_basic", "client_secret_post"} else "client_secret_basic"
    refused = token(certified_provider, client, other, code=code, **form)
    assert refused.json()["error"] in {"invalid_client", "invalid_request"}
    reply = token(certified_provider, client, auth_method, code=code, **form)
    assert reply.status_code == 200, reply.text
    claims = claims_of(reply.json()["id_token"])
    assert (claims["iss"], claims["sub"], claims["nonce"]) == (certified_provider.url, ERIN["sub"], "a nonce")
    bearer = {"authorization": f"Bearer {reply.json()['access_token']}"}
    assert get(f"{certified_provider.url}/me", headers=bearer).json() == ERIN
    noted = certified_provider.requests(client["client_id"])[-1]
    assert (noted["path"], noted["form"]["code"], noted["reply"]) == ("/token", code, reply.json())


async def test_the_certified_provider_verifies_pkce(certified_provider):
    """RFC 7636 §4.6; and without a challenge there is no code."""
    client = registered(certified_provider, "client_secret_basic")
    code = await code_from(certified_provider, request_of(client["client_id"]))
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code": code}
    refused = token(certified_provider, client, "client_secret_basic", code_verifier="w" * 43, **form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    bare = request_of(client["client_id"], code_challenge=None, code_challenge_method=None)
    arrived = await Person(ANSWERS).walk(f"{certified_provider.url}/auth?{urlencode(bare)}", until=CALLBACK)
    assert answer_of(arrived)["error"] == "invalid_request"


@pytest.mark.parametrize("rotation", ["on", "off"])
async def test_the_certified_provider_rotates_on_demand(rotation, certified_provider):
    """RFC 9700 §4.14.2: with rotation the second use of a refresh token ends the grant; without it, it may be used."""
    client = registered(certified_provider, "client_secret_post", rotation=rotation)
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    code = await code_from(certified_provider, request_of(client["client_id"]))
    first = token(certified_provider, client, "client_secret_post", code=code, **form).json()["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": first}
    second = token(certified_provider, client, "client_secret_post", **form).json()["refresh_token"]
    assert (second == first) is (rotation == "off")
    again = token(certified_provider, client, "client_secret_post", **form)
    assert again.status_code == (200 if rotation == "off" else 400)


async def test_the_certified_provider_takes_pushed_requests_only(scripts):
    """RFC 9126 §2, §5."""
    with CertifiedProvider(scripts, par_required=True) as provider:
        metadata = get(f"{provider.url}/.well-known/openid-configuration").json()
        assert metadata["require_pushed_authorization_requests"] is True
        client = registered(provider, "client_secret_basic")
        refused = await Person(ANSWERS).walk(
            f"{provider.url}/auth?{urlencode(request_of(client['client_id']))}", until=CALLBACK
        )
        assert answer_of(refused)["error"] == "invalid_request"
        auth = (client["client_id"], client["client_secret"])
        pushed = post(metadata["pushed_authorization_request_endpoint"], request_of(client["client_id"]), auth=auth)
        assert pushed.status_code == 201
        query = {"client_id": client["client_id"], "request_uri": pushed.json()["request_uri"]}
        assert await code_from(provider, query)


async def test_the_certified_provider_posts_its_answer(certified_provider):
    """OAuth 2.0 Form Post Response Mode §2."""
    client = registered(certified_provider, "client_secret_basic")
    person, query = Person(ANSWERS), request_of(client["client_id"], response_mode="form_post")
    page = await person.visit(f"{certified_provider.url}/auth?{urlencode(query)}")
    page = await person.submit(page, page.forms[0])
    (form,) = page.forms
    assert (form.method, form.action) == ("post", CALLBACK)
    assert {control.name for control in form.controls if control.name} == {"code", "state", "iss"}


# --- the look-alikes -------------------------------------------------------------------------------------------------

ENDPOINTS = {
    "github": ("/login/oauth/authorize", "/login/oauth/access_token"),
    "clerk": ("/oauth/authorize", "/oauth/token"),
    "google": ("/o/oauth2/v2/auth", "/oauth2/token"),
    "slack": ("/oauth/v2/authorize", "/api/oauth.v2.access"),
    "apple": ("/auth/authorize", "/auth/token"),
    "linear": ("/oauth/authorize", "/oauth/token"),
    "okta": ("/oauth2/v1/authorize", "/oauth2/v1/token"),
    "microsoft": ("/oauth2/v2.0/authorize", "/oauth2/v2.0/token"),
}
VERIFIES_PKCE = {"clerk", "google", "linear", "okta", "microsoft"}
VERIFIES_SECRET = set(SERVICES) - {"apple"}


@pytest.fixture(scope="module")
def emulated(scripts: Path) -> Iterator[Emulated]:
    with Emulated(scripts, lambda _: [CALLBACK]) as servers:
        yield servers


@pytest.fixture
def exchange(emulated: Emulated) -> Callable[..., Any]:
    """A coroutine that signs in and redeems the code, by a form with changes; the token endpoint's answer."""

    async def run(service: str, **change: str) -> httpx.Response:
        app, (authorize, token_path) = emulated.apps[service], ENDPOINTS[service]
        scope = {"linear": "read", "slack": "team:read"}.get(service, "openid profile email")
        query = request_of(app["id"], scope=scope, user_scope="users:read" if service == "slack" else None)
        person = Person({})
        arrived = await pick(
            person, await person.visit(f"{emulated.url_of(service)}{authorize}?{urlencode(query)}"), CALLBACK
        )
        assert isinstance(arrived, str)
        assert answer_of(arrived)["state"] == "a state"
        form = {
            "grant_type": "authorization_code",
            "code": answer_of(arrived)["code"],
            "redirect_uri": CALLBACK,
            "client_id": app["id"],
            "client_secret": app["secret"],
            "code_verifier": VERIFIER,
        }
        return post(emulated.url_of(service) + token_path, form | change)

    return run


@pytest.mark.parametrize("service", SERVICES)
async def test_a_look_alike_gives_tokens(service, exchange):
    """Each has its own idea of a token reply."""
    reply = (await exchange(service)).json()
    if service == "slack":
        assert reply["ok"] is True
        reply = reply["authed_user"]
    assert reply["access_token"]
    if service in {"clerk", "google", "apple", "okta", "microsoft"}:
        assert claims_of(reply["id_token"])["email"] == EMAIL


@pytest.mark.parametrize("service", sorted(VERIFIES_SECRET))
async def test_a_look_alike_checks_the_secret(service, exchange):
    """Two of them say so with status 200."""
    reply = await exchange(service, client_secret="x" * 43)
    assert reply.json()["error"] in {"invalid_client", "incorrect_client_credentials", "invalid_client_id"}
    assert (reply.status_code == 200) is (service in {"github", "slack"})


@pytest.mark.parametrize("service", sorted(VERIFIES_PKCE))
async def test_a_look_alike_verifies_pkce(service, exchange):
    """RFC 7636 §4.6."""
    reply = await exchange(service, code_verifier="w" * 43)
    assert reply.json()["error"] == "invalid_grant"


# --- the provider that can be spoilt ---------------------------------------------------------------------------------


def spoilt(provider: MockServer) -> httpx.Response:
    return post(f"{provider.url}/token", {"grant_type": "refresh_token", "refresh_token": "any", "client_id": "it"})


def test_answers_are_spoilt_one_at_a_time(mock_server):
    """A fault ends with its block, and the endpoint works again."""
    with mock_server.fault("/token", merge={"access_token": 7, "scope": ABSENT}):
        assert spoilt(mock_server).json().items() >= {"access_token": 7, "token_type": "Bearer"}.items()
        assert "scope" not in spoilt(mock_server).json()
    with mock_server.fault("/token", json=None, status=503):
        assert (spoilt(mock_server).status_code, spoilt(mock_server).json()) == (503, None)
    with mock_server.fault("/token", claims={"sub": "somebody", "aud": ABSENT}):
        claims = claims_of(spoilt(mock_server).json()["id_token"])
        assert claims["sub"] == "somebody"
        assert "aud" not in claims
    with mock_server.fault("/userinfo", raw="answer", body="<p>Sorry", headers={"content-type": "text/html"}):
        assert get(f"{mock_server.url}/userinfo").text == "<p>Sorry"
        assert spoilt(mock_server).status_code == 200
    assert get(f"{mock_server.url}/userinfo").json() == {"sub": "johndoe"}
    with mock_server.fault("/~b/userinfo", json=[]):
        assert get(f"{mock_server.url}/~b/userinfo").json() == []
        assert get(f"{mock_server.url}/userinfo").json() == {"sub": "johndoe"}
    issuer = f"{mock_server.url}/~b"
    metadata = get(f"{issuer}/.well-known/openid-configuration").json()
    assert (metadata["issuer"], metadata["jwks_uri"]) == (issuer, f"{issuer}/jwks")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"raw": "hangup"}, httpx.TransportError),
        ({"raw": "truncate", "body": '{"access'}, httpx.RemoteProtocolError),
        ({"raw": "bytes", "body": "SSH-2.0-OpenSSH_9.6\r\n"}, httpx.RemoteProtocolError),
        ({"raw": "silence"}, httpx.ReadTimeout),
    ],
    ids=lambda value: value["raw"] if isinstance(value, dict) else "",
)
def test_what_no_framework_would_send(fault, error, mock_server):
    """Faults below JSON, and below HTTP."""
    with mock_server.fault("/token", **fault), pytest.raises(error):
        request("POST", f"{mock_server.url}/token", timeout=1)


def test_an_answer_that_never_ends(mock_server):
    """As fast as it is read."""
    with (
        mock_server.fault("/token", raw="endless"),
        httpx.stream("POST", f"{mock_server.url}/token", timeout=5, trust_env=False) as reply,
    ):
        parts = reply.iter_raw()
        assert sum(len(next(parts)) for _ in range(200)) > 1 << 21
