"""Answers that no provider should give, at every endpoint that is asked: each ends in one of three outcomes, with a
page for the person, a trace id, a stable reason in the log, no traceback, and nothing half-made in the tables.

    the provider says no                    403   refused
    it is in trouble, or says "later"       503   unavailable
    its answer is not what it should be     502   misconfigured

The order of these rules is that of `provider/calls.py`: a provider in trouble sends all sorts of bodies.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from real.evidence import Judge, change, query
from real.gateway import Gateway
from real.mcp_backend import McpBackend
from real.mock_server import ABSENT, MockServer
from real.oauth_client import REDIRECT_URI, OAuthClient, answer_of, bearer, send
from real.person import Person
from real.processes import need
from real.shapes import DEFINITIONS, gateway_with, route

DESK = {"id": "desk", "name": "Desk", "redirect_uris": [REDIRECT_URI]}
SAYS = {403: "did not sign you in", 502: "not set up correctly", 503: "cannot be reached"}
CODES = {403: "access_denied", 502: "server_error", 503: "temporarily_unavailable"}
SECRET = "an-easily-recognised-secret-that-is-long-enough-0123456789"


def config_of(provider: MockServer, backend: McpBackend) -> dict[str, Any]:
    client = {"id": "it", "secret": SECRET}
    plain = str(DEFINITIONS / "mock_plain.yaml")
    providers: dict[str, Any] = {
        "oidc": {"definition": "oidc", "params": {"issuer": provider.url}},
        "plain": {"definition": plain, "params": {"base": provider.url}},
        "silent": {"definition": plain, "params": {"base": f"{provider.url}/~silent"}},
        "mute": {"definition": "oidc", "params": {"issuer": f"{provider.url}/~mute"}},
    }
    for realm in range(len(FIRST)):
        providers[f"first-{realm}"] = {"definition": "oidc", "params": {"issuer": f"{provider.url}/~first{realm}"}}
    for realm in range(len(LATER)):
        providers[f"later-{realm}"] = {"definition": plain, "params": {"base": f"{provider.url}/~later{realm}"}}
    providers = {name: {**entry, "client": client} for name, entry in providers.items()}
    routes = [
        route(name, f"/{name}", backend.api_url, providers=[name], send={"authorization": {"provider_token": name}})
        for name in providers
    ]
    return {"providers": providers, "routes": routes, "clients": [DESK]}


@pytest.fixture(scope="module")
def gate(servers_directory: Path, mock_server: MockServer, _mcp_backend: McpBackend) -> Iterator[Gateway]:
    need("vestibule")
    with gateway_with(servers_directory, lambda _: config_of(mock_server, _mcp_backend)) as gateway:
        yield gateway


@pytest.fixture
def judge(gate: Gateway) -> Iterator[Judge]:
    judge = Judge(gate)
    yield judge
    judge.conclude()


def desk(gate: Gateway) -> OAuthClient:
    return OAuthClient(gate.url, DESK["id"])


def johndoe(judge: Judge, name: str) -> Person:
    return judge.ledger.person({"decision": f"approve:{name}"})


async def shown_after_sign_in(judge: Judge, name: str) -> Any:
    """The provider asks nobody anything, so the walk ends in a page of the gateway or at the client."""
    person = johndoe(judge, name)
    page = await person.visit(desk(judge.gateway).authorize_url(f"/{name}"))
    return await person.submit(page, page.forms[0], until=REDIRECT_URI)


async def refused(judge: Judge, name: str, status: int, slug: str) -> None:
    page = judge.page(await shown_after_sign_in(judge, name), status, slug, says=SAYS[status])
    assert f"{REDIRECT_URI}?error={CODES[status]}" in page.html
    assert "Traceback" not in page.text
    assert query(judge.gateway, LAST_LOGIN) == [("failed", slug)]
    output = judge.gateway.output_file.read_text()
    assert "Traceback" not in output


LAST_LOGIN = "SELECT step, error_slug FROM logins ORDER BY created_at DESC, rowid DESC LIMIT 1"


def raw(body: str = "", **more: Any) -> dict[str, Any]:
    return {"raw": "answer", "body": body, **more}


HTML = {"content-type": "text/html; charset=utf-8"}
PAGE = "<!doctype html><title>Log in</title><script>alert(1)</script>"
DISCOVERY = "/.well-known/openid-configuration"
DEEP = "[" * 100_000

# What comes back, whatever the endpoint.
ANYWHERE: dict[str, tuple[dict[str, Any], int, str]] = {
    # below HTTP
    "hangs up": ({"raw": "hangup"}, 503, "provider_protocol"),
    "is no HTTP": ({"raw": "bytes", "body": "SSH-2.0-OpenSSH_9.6\r\n"}, 503, "provider_protocol"),
    "has an endless header": (
        {"raw": "bytes", "body": "HTTP/1.1 200 OK\r\nx: " + "a" * 300_000},
        503,
        "provider_protocol",
    ),
    "has two lengths": (
        {"raw": "bytes", "body": "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"},
        503,
        "provider_protocol",
    ),
    "breaks off": ({"raw": "truncate", "body": '{"access_token": "abc", "sub": "johndoe"}'}, 503, "provider_protocol"),
    "is not the gzip that it says": (raw("{}", headers={"content-encoding": "gzip"}), 503, "provider_protocol"),
    # size
    "is huge": (raw('{"a": "' + "x" * 60_000, repeat=40), 503, "provider_too_large"),
    "never ends": ({"raw": "endless"}, 503, "provider_too_large"),
    "is a gzip bomb": (
        raw(" " * 60_000, repeat=1000, gzip=True, headers={"content-encoding": "gzip"}),
        503,
        "provider_protocol",
    ),
    # trouble, whatever it says
    "500": (raw(PAGE, status=500, headers=HTML), 503, "provider_unavailable"),
    "502 from a proxy": (raw(PAGE, status=502, headers=HTML), 503, "provider_unavailable"),
    "503 with an OAuth error": (raw('{"error": "invalid_grant"}', status=503), 503, "provider_unavailable"),
    "429": (raw("{}", status=429, headers={"retry-after": "7"}), 503, "provider_unavailable"),
    "408": (raw("", status=408), 503, "provider_unavailable"),
    "403 as a rate limit": (raw("{}", status=403, headers={"x-ratelimit-remaining": "0"}), 503, "provider_unavailable"),
    "later, with 200": (raw('{"error": "temporarily_unavailable"}'), 503, "temporarily_unavailable"),
    "server_error, with 400": (raw('{"error": "server_error"}', status=400), 503, "server_error"),
    # no
    "no, with 400": (raw('{"error": "invalid_grant"}', status=400), 403, "invalid_grant"),
    "no, with 200": (raw('{"error": "access_denied"}'), 403, "access_denied"),
    "no, as a form": (
        raw("error=invalid_grant", headers={"content-type": "application/x-www-form-urlencoded"}),
        403,
        "invalid_grant",
    ),
    # nothing that fits
    "301": (raw(status=301, headers={"location": "/elsewhere"}), 502, "provider_status"),
    "302 to a private address": (
        raw(status=302, headers={"location": "http://169.254.169.254/"}),
        502,
        "provider_status",
    ),
    "307 to another host": (raw(status=307, headers={"location": "http://attacker.example/"}), 502, "provider_status"),
    "304": (raw(status=304), 502, "provider_status"),
    "404": (raw(PAGE, status=404, headers=HTML), 502, "provider_status"),
    "405": (raw(status=405), 502, "provider_status"),
    "415": (raw("{}", status=415), 502, "provider_status"),
    "an unknown error": (raw('{"error": "teapot"}', status=418), 502, "provider_error"),
    "an error that is markup": (raw('{"error": "<script>alert(1)</script>"}', status=400), 502, "provider_error"),
    "an error that is an object": (raw('{"error": {"code": 7, "message": "no"}}', status=400), 502, "provider_error"),
    "an error that is a number, with 200": (raw('{"error": 1}'), 502, "provider_error"),
}
# What a token reply may not look like: not a document, or one in which something has another type.
UNREADABLE: dict[str, dict[str, Any]] = {
    "HTML": raw(PAGE, headers=HTML),
    "HTML that says it is JSON": raw(PAGE),
    "nothing": raw(),
    "204": raw(status=204),
    "truncated JSON": raw('{"access_token": "abc", "sub": "john'),
    "a list": raw("[]"),
    "a text": raw('"access_token"'),
    "a number": raw("42"),
    "null": raw("null"),
    "deep JSON": raw(DEEP),
    "deep objects": raw('{"a":' * 50_000),
    "JSON with comments": raw('{"sub": "johndoe" /* him */}'),
    "NaN": raw('{"sub": NaN}'),
    "UTF-16": raw("feff007b007d", hex=True),
    "Latin-1": raw("7b22737562223a22e9227d", hex=True),
    "JSON twice": raw('{"sub": "a"}{"sub": "b"}'),
    "a form with a name twice": raw(
        "access_token=a&access_token=b&sub=a", headers={"content-type": "application/x-www-form-urlencoded"}
    ),
    "binary": raw("00ff00ff", hex=True, headers={"content-type": "application/octet-stream"}),
}
TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing in it": ({"json": {}}, "access_token_missing"),
    "no access token": ({"merge": {"access_token": ABSENT}}, "access_token_missing"),
    "an empty access token": ({"merge": {"access_token": ""}}, "access_token_missing"),
    "access_token null": ({"merge": {"access_token": None}}, "access_token_missing"),
    "access_token a number": ({"merge": {"access_token": 7}}, "access_token_malformed"),
    "access_token a list": ({"merge": {"access_token": ["a"]}}, "access_token_malformed"),
    "access_token an object": ({"merge": {"access_token": {"a": 1}}}, "access_token_malformed"),
    "access_token true": ({"merge": {"access_token": True}}, "access_token_malformed"),
    "access_token with a line break": ({"merge": {"access_token": "a\r\nx-user: admin"}}, "access_token_malformed"),
    "access_token with NUL": ({"merge": {"access_token": "a\x00b"}}, "access_token_malformed"),
    "access_token not ASCII": ({"merge": {"access_token": "é" * 20}}, "access_token_malformed"),
    "access_token half a character": (raw('{"access_token": "\\ud800"}'), "token_reply_unreadable"),
    "access_token endless": ({"merge": {"access_token": "x" * 20_000}}, "access_token_malformed"),
    "refresh_token a number": ({"merge": {"refresh_token": 7}}, "refresh_token_malformed"),
    "refresh_token an object": ({"merge": {"refresh_token": {}}}, "refresh_token_malformed"),
    "expires_in a word": ({"merge": {"expires_in": "soon"}}, "expires_in_malformed"),
    "expires_in negative": ({"merge": {"expires_in": -1}}, "expires_in_malformed"),
    "expires_in a list": ({"merge": {"expires_in": [3600]}}, "expires_in_malformed"),
    "expires_in true": ({"merge": {"expires_in": True}}, "expires_in_malformed"),
    "expires_in a million years": ({"merge": {"expires_in": 31_557_600_000_000}}, "expires_in_malformed"),
    "expires_in infinite": (raw('{"access_token": "a", "expires_in": 1e400}'), "token_reply_unreadable"),
    "expires_in of 5000 digits": (
        raw('{"access_token": "a", "expires_in": ' + "9" * 5000 + "}"),
        "token_reply_unreadable",
    ),
    "expires_at a word": ({"merge": {"expires_in": ABSENT, "expires_at": "soon"}}, "expires_at_malformed"),
    "expires_at the 13th month": (
        {"merge": {"expires_in": ABSENT, "expires_at": "2026-13-01T00:00:00Z"}},
        "expires_at_malformed",
    ),
    "scope a number": ({"merge": {"scope": 7}}, "scope_malformed"),
    "scope an object": ({"merge": {"scope": {"read": True}}}, "scope_malformed"),
    "scope a list of numbers": ({"merge": {"scope": [1, 2]}}, "scope_malformed"),
}
ID_TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "absent": ({"merge": {"id_token": ABSENT}}, "id_token_missing"),
    "a number": ({"merge": {"id_token": 7}}, "id_token_malformed"),
    "no JWT": ({"merge": {"id_token": "abc"}}, "id_token_signature"),
    "unsigned": ({"merge": {"id_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJqb2huZG9lIn0."}}, "id_token_signature"),
    "of an unknown key": ({"header": {"kid": "another"}}, "id_token_signature"),
    "of another issuer": ({"claims": {"iss": "https://attacker.example"}}, "id_token_issuer"),
    "for another client": ({"claims": {"aud": "somebody-else"}}, "id_token_audience"),
    "for nobody": ({"claims": {"aud": ABSENT}}, "id_token_audience"),
    "of another login": ({"claims": {"nonce": "another"}}, "id_token_nonce"),
    "without a nonce": ({"claims": {"nonce": ABSENT}}, "id_token_nonce"),
    "expired": ({"claims": {"exp": 1}}, "id_token_expired"),
    "that never expires": ({"claims": {"exp": ABSENT}}, "id_token_expired"),
    "from the future": ({"claims": {"iat": 4102444800}}, "id_token_issued_at"),
    "about nobody": ({"claims": {"sub": ABSENT}}, "id_token_subject"),
    "about a number": ({"claims": {"sub": 7}}, "id_token_subject"),
}
PEOPLE: dict[str, tuple[dict[str, Any], str]] = {
    "no sub": ({"merge": {"sub": ABSENT}}, "subject_missing"),
    "sub null": ({"merge": {"sub": None}}, "subject_missing"),
    "sub empty": ({"merge": {"sub": ""}}, "subject_missing"),
    "sub an object": ({"merge": {"sub": {"id": 1}}}, "identity_malformed"),
    "sub a list": ({"merge": {"sub": ["johndoe"]}}, "identity_malformed"),
    "sub true": ({"merge": {"sub": True}}, "identity_malformed"),
    "sub a fraction": ({"merge": {"sub": 1.5}}, "identity_malformed"),
    "sub endless": ({"merge": {"sub": "x" * 5000}}, "identity_malformed"),
    "sub with a line break": ({"merge": {"sub": "john\ndoe"}}, "identity_malformed"),
    "sub of 256 characters": ({"merge": {"sub": "x" * 256}}, "subject_missing"),
    "email a list": ({"merge": {"email": ["a@acme.example"]}}, "identity_malformed"),
    "name an object": ({"merge": {"name": {"first": "John"}}}, "identity_malformed"),
    "name with a terminal code": ({"merge": {"name": "\x1b[31mJohn"}}, "identity_malformed"),
    "groups a text": ({"merge": {"groups": "admins"}}, "identity_malformed"),
    "groups of numbers": ({"merge": {"groups": [1, 2]}}, "identity_malformed"),
    "groups without end": ({"merge": {"groups": ["g"] * 6000}}, "identity_malformed"),
}
FIRST: dict[str, tuple[dict[str, Any], int, str]] = {
    "no discovery": ({"at": DISCOVERY, **raw(status=404)}, 502, "provider_status"),
    "discovery is down": ({"at": DISCOVERY, **raw(status=503)}, 503, "provider_unavailable"),
    "discovery is HTML": ({"at": DISCOVERY, **raw(PAGE, headers=HTML)}, 502, "metadata_unreadable"),
    "discovery of another": (
        {"at": DISCOVERY, **raw('{"issuer": "https://attacker.example"}')},
        502,
        "discovery_issuer",
    ),
    "keys are HTML": ({"at": "/jwks", **raw(PAGE, headers=HTML)}, 502, "metadata_unreadable"),
    "keys are down": ({"at": "/jwks", **raw(status=500)}, 503, "provider_unavailable"),
    "no keys": ({"at": "/jwks", **raw('{"keys": []}')}, 502, "id_token_signature"),
    "keys of other types": (
        {"at": "/jwks", **raw('{"keys": [1, null, {"kty": "oct", "k": "c2VjcmV0"}]}')},
        502,
        "id_token_signature",
    ),
    "keys no list": ({"at": "/jwks", **raw('{"keys": {"kty": "RSA"}}')}, 502, "id_token_signature"),
}
LATER: dict[str, tuple[dict[str, Any], int]] = {
    "is down": (raw(PAGE, status=503, headers=HTML), 200),
    "hangs up": ({"raw": "hangup"}, 200),
    "says later": (raw('{"error": "temporarily_unavailable"}'), 200),
    "is HTML": (raw(PAGE, headers=HTML), 200),
    "has no token": ({"json": {}}, 200),
    "has a token that is none": ({"merge": {"access_token": "a\r\nb"}}, 200),
    "says no": (raw('{"error": "invalid_grant"}', status=400), 401),
}


# --- the token endpoint ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ANYWHERE)
async def test_a_token_reply_that(fault, judge, mock_server):
    """RFC 6749 §5.1, §5.2."""
    what, status, slug = ANYWHERE[fault]
    with mock_server.fault("/token", **what):
        await refused(judge, "plain", status, slug)


@pytest.mark.parametrize("fault", UNREADABLE)
async def test_a_token_reply_that_cannot_be_read(fault, judge, mock_server):
    """RFC 6749 §5.1: a JSON object; or a form, which some send."""
    with mock_server.fault("/token", **UNREADABLE[fault]):
        await refused(judge, "plain", 502, "token_reply_unreadable")


@pytest.mark.parametrize("fault", TOKENS)
async def test_a_token_reply_with(fault, judge, mock_server):
    """RFC 6749 §5.1 and appendix A: each field has one type, and no token can break out of a header."""
    what, slug = TOKENS[fault]
    with mock_server.fault("/token", **what):
        await refused(judge, "plain", 502, slug)


@pytest.mark.parametrize("fault", ID_TOKENS)
async def test_an_id_token(fault, judge, mock_server):
    """OIDC Core §3.1.3.7."""
    what, slug = ID_TOKENS[fault]
    with mock_server.fault("/token", **what):
        await refused(judge, "oidc", 502, slug)


# --- the identity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ANYWHERE)
async def test_a_userinfo_reply_that(fault, judge, mock_server):
    """OIDC Core §5.3: the tokens are there, and still nothing is made."""
    what, status, slug = ANYWHERE[fault]
    with mock_server.fault("/userinfo", **what):
        await refused(judge, "oidc", status, slug)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        *((fault, "plain") for fault in UNREADABLE),
        *((fault, "oidc") for fault in ("HTML", "nothing", "a list", "null")),
    ],
)
async def test_a_userinfo_reply_that_cannot_be_read(fault, name, judge, mock_server):
    """Nobody is identified by it, with an id_token or without."""
    slug = "identity_reply_unreadable"
    if fault in {"a list", "a text", "a number"}:
        slug = "userinfo_subject" if name == "oidc" else "subject_missing"
    with mock_server.fault("/userinfo", **UNREADABLE[fault]):
        await refused(judge, name, 502, slug)


@pytest.mark.parametrize("fault", PEOPLE)
async def test_a_person_with(fault, judge, mock_server):
    """What people are known by is text or a whole number, of a sensible length."""
    what, slug = PEOPLE[fault]
    with mock_server.fault("/userinfo", **what):
        await refused(judge, "plain", 502, slug)


async def test_attack_userinfo_of_somebody_else(judge, mock_server):
    """OIDC Core §5.3.2: `sub` has to be that of the id_token."""
    with mock_server.fault("/userinfo", merge={"sub": "victim"}):
        await refused(judge, "oidc", 502, "userinfo_subject")


async def test_a_token_that_the_provider_itself_does_not_take(judge, mock_server):
    """RFC 6750 §3.1: 401 to the user's own token is a no, not a fault in the set-up."""
    with mock_server.fault("/userinfo", **raw(status=401, headers={"www-authenticate": "Bearer"})):
        await refused(judge, "plain", 403, "invalid_token")


ODD: dict[str, dict[str, Any]] = {
    "numbers as text": {"at": "/token", "merge": {"expires_in": "3600", "scope": ["a", "b"], "token_type": "bearer"}},
    "nulls": {"at": "/token", "merge": {"expires_in": None, "refresh_token": None, "id_token": None, "scope": None}},
    "only a token": {"at": "/token", "json": {"access_token": "abc"}},
    "a form": {
        "at": "/token",
        **raw("access_token=abc&expires_in=60", headers={"content-type": "application/x-www-form-urlencoded"}),
    },
    "a number for an id": {"at": "/userinfo", "json": {"sub": 1234567890123, "email_verified": "true", "name": None}},
    "JSON that says it is HTML": {"at": "/userinfo", **raw('{"sub": "x"}', headers=HTML)},
}


@pytest.mark.parametrize("fault", ODD)
async def test_odd_and_good_enough(fault, judge, mock_server):
    """What has an own way in the wild is taken for what it means."""
    with mock_server.fault(**ODD[fault]):
        arrived = await shown_after_sign_in(judge, "plain")
    assert isinstance(arrived, str), arrived
    assert "code" in answer_of(arrived)
    judge.made_on_purpose()


# --- before and after ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FIRST)
async def test_metadata(fault, judge, mock_server):
    """OIDC Discovery §4.3, RFC 7517 §5: asked for with the first login, so each of these is an issuer of its own."""
    what, status, slug = FIRST[fault]
    realm = list(FIRST).index(fault)
    with mock_server.fault(**{**what, "at": f"/~first{realm}{what['at']}"}):
        page = await shown_after_sign_in(judge, f"first-{realm}")
        judge.page(page, status, slug, says=SAYS[status])
    judge.conclude()
    if "down" in fault:  # what was an answer is kept for a while
        assert isinstance(await shown_after_sign_in(judge, f"first-{realm}"), str)
        judge.made_on_purpose()


@pytest.mark.parametrize("fault", LATER)
async def test_a_refresh_that(fault, judge, mock_server):
    """Design decision 17: trouble and misunderstandings keep the session, whose token still works; a no ends it. After
    trouble a provider is left alone for a while, so each of these is one of its own.
    """
    what, status = LATER[fault]
    realm = list(LATER).index(fault)
    name, client, now = f"later-{realm}", desk(judge.gateway), int(time.time())
    tokens = judge.ledger.note_tokens(await client.sign_in(johndoe(judge, name), f"/{name}"))
    judge.made_on_purpose()
    change(judge.gateway, NEAR_ITS_END, now - 3540, now + 60, name)
    mock_server.hits()
    with mock_server.fault(f"/~later{realm}/token", **what):
        reply = await send("GET", f"{client.issuer}/{name}/echo", headers=bearer(tokens["access_token"]))
    assert reply.status_code == status, reply.text
    assert f"POST /~later{realm}/token" in mock_server.hits()
    ((ended_at,),) = query(judge.gateway, "SELECT ended_at FROM connections WHERE provider = ?", name)
    assert (ended_at is not None) is (status == 401)
    assert "Traceback" not in judge.gateway.output_file.read_text()


NEAR_ITS_END = "UPDATE connections SET refreshed_at = ?, expires_at = ? WHERE provider = ?"


@pytest.mark.parametrize("fault", ["hangs up", "500", "404", "never ends", "no, with 400"])
async def test_a_revocation_that(fault, judge, mock_server):
    """RFC 7009 §2.2: whatever the provider says, the client's keys are dead."""
    client = desk(judge.gateway)
    tokens = judge.ledger.note_tokens(await client.sign_in(johndoe(judge, "plain"), "/plain"))
    judge.made_on_purpose()
    with mock_server.fault("/revoke", **ANYWHERE[fault][0]):
        assert (await client.revoke(tokens["refresh_token"])).status_code == 200
    refused = await send("GET", f"{client.issuer}/plain/echo", headers=bearer(tokens["access_token"]))
    assert refused.status_code == 401
    assert "Traceback" not in judge.gateway.output_file.read_text()


async def test_silence(judge, mock_server):
    """A whole answer has ten seconds; the person is told that the provider cannot be reached."""
    with (
        mock_server.fault("/~silent/token", raw="silence"),
        mock_server.fault("/~mute/userinfo", raw="silence"),
    ):
        pages = await asyncio.gather(*(shown_after_sign_in(judge, name) for name in ("silent", "mute")))
    for page in pages:
        judge.page(page, 503, "provider_timeout", says=SAYS[503])
