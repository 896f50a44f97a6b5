"""The stand-ins keep what the end-to-end tests rely on. No gateway takes part here."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from jwcrypto.jwk import JWKSet
from jwcrypto.jws import JWS

from real.django_provider import ALICE, BOB, DjangoProvider
from real.oidc_mock import CAROL
from real.person import Page, Person, StuckError
from real.processes import OWN_MODULES, Server, StartError, free_port, need

CALLBACK = "http://127.0.0.1:40404/oauth/callback"
VERIFIER = "a-verifier-that-only-this-client-knows-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
DJANGO_ANSWERS = {"username": ALICE["username"], "password": ALICE["password"], "allow": True}
BOB_ANSWERS = {**DJANGO_ANSWERS, "username": BOB["username"], "password": BOB["password"]}


def get(url: str, **arguments: Any) -> httpx.Response:
    return httpx.get(url, timeout=10, trust_env=False, **arguments)


def post(url: str, form: dict[str, str], **arguments: Any) -> httpx.Response:
    return httpx.post(url, data=form, timeout=10, trust_env=False, **arguments)


def authorize_url(provider: DjangoProvider, **change: str | None) -> str:
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": CALLBACK,
        "scope": "org:read event:read",
        "state": "a state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | change
    return f"{provider.url}/oauth/authorize/?" + urlencode({k: v for k, v in query.items() if v is not None})


def token(provider: DjangoProvider, **form: str) -> httpx.Response:
    form = {"client_id": provider.client_id, "client_secret": provider.client_secret} | form
    return post(f"{provider.url}/oauth/token/", form)


def redeem(provider: DjangoProvider, code: str, /, **change: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return token(provider, **form | change)


def refresh(provider: DjangoProvider, refresh_token: str, **more: str) -> httpx.Response:
    return token(provider, grant_type="refresh_token", refresh_token=refresh_token, **more)


def me(provider: DjangoProvider, access_token: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {access_token}"}
    return get(f"{provider.url}/api/0/me/", headers=headers)


def answer_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def code_from(provider: DjangoProvider, answers=DJANGO_ANSWERS) -> str:
    return answer_of(await Person(answers).walk(authorize_url(provider), until=CALLBACK))["code"]


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_server_that_ends_is_reported_with_what_it_printed(tmp_path):
    """Without its output nobody could tell why a stand-in did not start."""
    server = Server("broken", [sys.executable, "-c", "raise SystemExit('no such table')"], port=1, directory=tmp_path)
    with pytest.raises(StartError, match="no such table"):
        server.start()
    assert server not in Server.running


def test_a_server_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    """A test run never hangs on a server that does not obey."""
    monkeypatch.setattr("real.processes.STOP_SECONDS", 0.2)
    port = free_port()
    program = f"""
import signal, socket, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listening = socket.create_server(("127.0.0.1", {port}))
time.sleep(60)
"""
    with Server("stubborn", [sys.executable, "-c", program], port=port, directory=tmp_path) as server:
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_does_not_outlive_its_time(tmp_path, monkeypatch):
    """Nobody stops the servers of a test run that was itself killed: the alarm does."""
    monkeypatch.setattr("real.processes.LIFETIME_SECONDS", 1)
    port = free_port()
    with Server("files", [sys.executable, "-m", "http.server", str(port)], port=port, directory=tmp_path) as server:
        assert server._process.wait(10) == -signal.SIGALRM


def test_a_server_comes_back_on_its_port(tmp_path):
    """A crash and a restart, as a client sees them."""
    port = free_port()
    server = Server("files", [sys.executable, "-m", "http.server", str(port)], port=port, directory=tmp_path)
    with server:
        first = server.pid
        server.kill()
        server.start()
        assert server.pid != first


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), (None, pytest.skip.Exception)])
def test_a_missing_component_fails_in_ci_and_skips_elsewhere(ci, outcome, monkeypatch):
    """What is skipped in CI would never be tested at all."""
    monkeypatch.delenv("CI", raising=False)
    if ci:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-program"):
        need("no-such-program")


# --- the Sentry-shaped provider --------------------------------------------------------------------------------------


async def test_django_signs_a_person_in(django_provider):
    """Login form, approve page, code, tokens, API: RFC 6749 §4.1 with PKCE (RFC 7636)."""
    person = Person(DJANGO_ANSWERS)
    arrived = await person.walk(authorize_url(django_provider), until=CALLBACK)
    assert answer_of(arrived)["state"] == "a state"
    assert [page.url.partition("?")[0].removeprefix(django_provider.url) for page in person.pages] == [
        "/oauth/authorize/",
        "/login/",
        "/login/",
        "/oauth/authorize/",
        "/oauth/authorize/",
    ]
    reply = redeem(django_provider, answer_of(arrived)["code"])
    assert reply.status_code == 200
    assert me(django_provider, reply.json()["access_token"]).json()["username"] == "alice"
    assert me(django_provider, "made-up").status_code == 401


async def test_django_token_response_has_the_shape_of_sentry(django_provider):
    """Beside RFC 6749 §5.1: an ISO `expires_at`, and the user with a string id."""
    reply = redeem(django_provider, await code_from(django_provider)).json()
    ends = datetime.fromisoformat(reply["expires_at"])
    assert 0 < (ends - datetime.now(UTC)).total_seconds() <= reply["expires_in"] == 3600  # noqa: TID251
    assert reply["user"] == {"id": "1", "name": "Alice Ng", "email": "alice@acme.example"}
    assert reply["scope"] == "org:read event:read"
    hidden = redeem(django_provider, await code_from(django_provider, BOB_ANSWERS)).json()
    assert hidden["user"] == {"id": "2", "name": None, "email": None}


@pytest.mark.parametrize(
    "change",
    [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {"code": "guessed"}, {"redirect_uri": CALLBACK + "2"}],
    ids=str,
)
async def test_django_refuses_a_code_with(change, django_provider):
    """RFC 7636 §4.6, RFC 6749 §4.1.3: this stand-in really checks."""
    reply = redeem(django_provider, await code_from(django_provider), **change)
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("invalid_")


async def test_django_refuses_a_wrong_client_secret(django_provider):
    """RFC 6749 §5.2: what a gateway with a wrong secret in its config meets."""
    reply = redeem(django_provider, await code_from(django_provider), client_secret="wrong")
    assert (reply.status_code, reply.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "change", [{"code_challenge": None, "code_challenge_method": None}, {"code_challenge_method": "plain"}], ids=str
)
async def test_django_demands_pkce_s256(change, django_provider):
    """RFC 7636 §4.4.1: no challenge, or `plain`, is refused before anybody signs in for it."""
    arrived = await Person(DJANGO_ANSWERS).walk(authorize_url(django_provider, **change), until=CALLBACK)
    assert answer_of(arrived)["error"] == "invalid_request"


async def test_django_rotates_refresh_tokens_and_refuses_scope(django_provider):
    """Sentry answers 400 to a refresh that names a scope; the token stays good. A used one does not."""
    first = redeem(django_provider, await code_from(django_provider)).json()
    refused = refresh(django_provider, first["refresh_token"], scope="org:read")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    second = refresh(django_provider, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["user"]["id"] == "1"
    assert me(django_provider, first["access_token"]).status_code == 401
    assert refresh(django_provider, first["refresh_token"]).json()["error"] == "invalid_grant"


async def test_django_tokens_can_be_short(start, tmp_path):
    """So that a test can see a provider's token end."""
    provider = start(DjangoProvider(tmp_path, token_seconds=1))
    reply = redeem(provider, await code_from(provider)).json()
    assert reply["expires_in"] == 1
    await asyncio.sleep(1.1)
    assert me(provider, reply["access_token"]).status_code == 401
    assert me(provider, refresh(provider, reply["refresh_token"]).json()["access_token"]).status_code == 200


async def test_django_revokes(django_provider):
    """By the client at /oauth/revoke/ (RFC 7009), and behind its back, as an administrator does."""
    mine = redeem(django_provider, await code_from(django_provider)).json()
    form = {"token": mine["refresh_token"], "client_id": django_provider.client_id}
    form["client_secret"] = django_provider.client_secret
    assert post(f"{django_provider.url}/oauth/revoke/", form).status_code == 200
    assert refresh(django_provider, mine["refresh_token"]).json()["error"] == "invalid_grant"

    other = redeem(django_provider, await code_from(django_provider)).json()
    assert django_provider.state("alice")["refresh_tokens"] > 0
    django_provider.revoke_all("alice")
    assert django_provider.state("alice") | {"calls": 0} == {"access_tokens": 0, "refresh_tokens": 0, "calls": 0}
    assert me(django_provider, other["access_token"]).status_code == 401
    assert refresh(django_provider, other["refresh_token"]).json()["error"] == "invalid_grant"


async def test_django_misbehaves_on_request(django_provider):
    """500, HTML with status 200, slowness: and the code is not spent by the first two."""
    code = await code_from(django_provider)
    try:
        django_provider.misbehave("error")
        assert redeem(django_provider, code).status_code == 500
        django_provider.misbehave("html")
        assert redeem(django_provider, code).headers["content-type"].startswith("text/html")
        django_provider.misbehave("slow", seconds=0.5)
        reply = redeem(django_provider, code)
        assert reply.elapsed.total_seconds() >= 0.5
        assert reply.status_code == 200
    finally:
        django_provider.misbehave("none")


# --- the person ------------------------------------------------------------------------------------------------------


async def test_person_can_decline(django_provider):
    """RFC 6749 §4.1.2.1: the nameless button of the approve page is Cancel."""
    arrived = await Person({**DJANGO_ANSWERS, "allow": False}).walk(authorize_url(django_provider), until=CALLBACK)
    assert answer_of(arrived)["error"] == "access_denied"


async def test_person_keeps_cookies_between_walks(django_provider):
    """The second sign-in in the same browser asks for no password."""
    person = Person(DJANGO_ANSWERS)
    await person.walk(authorize_url(django_provider), until=CALLBACK)
    before = len(person.pages)
    await person.walk(authorize_url(django_provider), until=CALLBACK)
    assert len(person.pages) - before == 2


async def test_person_gives_up_on_a_wrong_password(django_provider):
    """The same question twice ends the walk, with the page as the reason."""
    with pytest.raises(StuckError, match="asked again") as stuck:
        await Person({**DJANGO_ANSWERS, "password": "x"}).walk(authorize_url(django_provider), until=CALLBACK)
    assert "correct username and password" in stuck.value.page.text


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/away", "off loopback"), ("/loop", "no end"), ("/refused", "no answer"), ("/repeat", "repeated at another")],
)
async def test_person_stops_at(path, reason, form_server):
    """Tests never leave this machine; only the client's own redirect URI may be elsewhere, and is not opened."""
    person = Person({"decision": "approve"})
    with pytest.raises(StuckError, match=reason):
        await person.walk(form_server.url + path, until=CALLBACK)


async def test_person_returns_a_redirect_to_an_app(form_server):
    """Private-use schemes and https are what real clients register."""
    arrived = await Person({}).walk(form_server.url + "/away", until="https://elsewhere.example/callback")
    assert arrived == "https://elsewhere.example/callback?code=c"


CONSENT = """<!doctype html><style>p {color: red}</style><h1>Allow Editor?</h1>
<form method="post" action="/oauth/consent"><input type="hidden" name="request" value="signed">
<input type="checkbox" name="permission" value="read" checked><input type="checkbox" name="permission" value="write">
<input type="radio" name="provider" value="github" checked><input type="radio" name="provider" value="clerk">
<input type="text" name="off" value="1" disabled>
<button name="decision" value="approve">Allow</button><button name="decision" value="deny">Cancel</button></form>"""


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        ({"decision": "approve"}, "request=signed&permission=read&provider=github&decision=approve"),
        ({"decision": "deny"}, "request=signed&permission=read&provider=github&decision=deny"),
        (
            {"decision": "approve", "permission": ["write"], "provider": "clerk"},
            "request=signed&permission=write&provider=clerk&decision=approve",
        ),
        ({"decision": "approve", "permission": []}, "request=signed&provider=github&decision=approve"),
        ({"decision": "approve", "permission": ["admin"]}, None),
        ({"decision": True}, None),
        ({"permission": ["read"]}, None),
    ],
    ids=str,
)
async def test_person_fills_in_a_consent_form(answers, sent, form_server):
    """HTML "constructing the entry list": what is sent is what a browser would send, and only what the page offers."""
    person = Person(answers)
    page = await person.visit(form_server.url + "/oauth/consent")
    assert isinstance(page, Page)
    assert page.text == "Allow Editor? Allow Cancel"
    if sent is None:
        with pytest.raises(StuckError):
            await person.submit(page, page.forms[0])
    else:
        received = json.loads((await person.submit(page, page.forms[0])).html)
        assert received["body"] == sent
        # Fetch: a page with `Referrer-Policy: no-referrer` sends its forms with `Origin: null`.
        assert received["origin"] == "null"
        assert received["sec-fetch-site"] == "same-origin"
        assert received["referer"] is None


FORM_SERVER = """
import http.server, json, sys
class Pages(http.server.BaseHTTPRequestHandler):
    def answer(self, body, kind, status=200, location=None):
        self.send_response(status)
        if location:
            self.send_header("location", location)
        self.send_header("content-type", kind)
        self.send_header("referrer-policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body.encode())
    def do_GET(self):
        away = {"/away": "https://elsewhere.example/callback?code=c", "/loop": "/loop", "/refused": "http://127.0.0.1:1/"}
        if self.path in away:
            self.answer("", "text/html", 302, away[self.path])
        else:
            self.answer(CONSENT.replace("/oauth/consent", self.path), "text/html")
    def do_POST(self):
        if self.path == "/repeat":
            self.rfile.read(int(self.headers["content-length"]))
            return self.answer("", "text/html", 307, "/elsewhere")
        got = {name: self.headers[name] for name in ("origin", "referer", "sec-fetch-site")}
        got["body"] = self.rfile.read(int(self.headers["content-length"])).decode()
        self.answer(json.dumps(got), "application/json")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()
"""


@pytest.fixture(scope="module")
def form_server(servers_directory):
    port = free_port()
    program = f"CONSENT = {CONSENT!r}\n{FORM_SERVER}"
    command = [sys.executable, "-c", program, str(port)]
    with Server("form", command, port=port, directory=servers_directory) as server:
        yield server


# --- the Clerk-shaped provider ---------------------------------------------------------------------------------------


async def test_oidc_signs_a_person_in(oidc_provider):
    """Discovery, code, id_token with our nonce, userinfo, refresh (OIDC Core §3.1)."""
    found = get(f"{oidc_provider.url}/.well-known/openid-configuration").json()
    assert found["issuer"] == oidc_provider.url
    client_id, client_secret = oidc_provider.register(CALLBACK)
    query = {"response_type": "code", "client_id": client_id, "redirect_uri": CALLBACK, "state": "s", "nonce": "n-1"}
    url = found["authorization_endpoint"] + "?" + urlencode(query | {"scope": "openid profile email"})
    arrived = answer_of(await Person({"sub": CAROL["sub"]}).walk(url, until=CALLBACK))
    assert arrived["state"] == "s"

    us = {"auth": (client_id, client_secret)}
    form = {"grant_type": "authorization_code", "code": arrived["code"], "redirect_uri": CALLBACK}
    reply = post(found["token_endpoint"], form, **us).json()
    form = {"grant_type": "refresh_token", "refresh_token": reply["refresh_token"]}
    again = post(found["token_endpoint"], form, **us).json()
    keys = JWKSet.from_json(get(found["jwks_uri"]).text)
    signed = JWS()
    signed.deserialize(reply["id_token"], next(iter(keys["keys"])))
    claims = json.loads(signed.payload)
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (oidc_provider.url, [client_id], "n-1")
    bearer = {"authorization": f"Bearer {again['access_token']}"}
    assert get(found["userinfo_endpoint"], headers=bearer).json() == CAROL


@pytest.mark.parametrize("change", [{"client_id": "unregistered"}, {"redirect_uri": CALLBACK + "/other"}], ids=str)
async def test_oidc_shows_an_error_for(change, oidc_provider):
    """RFC 6749 §4.1.2.1: an unknown client or redirect URI is not redirected to."""
    client_id, _ = oidc_provider.register(CALLBACK)
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": "openid",
        "nonce": "n",
    } | change
    page = await Person({}).visit(f"{oidc_provider.url}/oauth2/authorize?{urlencode(query)}")
    assert isinstance(page, Page)
    assert page.status == 400


async def test_oidc_person_can_decline(oidc_provider):
    """RFC 6749 §4.1.2.1 access_denied."""
    client_id, _ = oidc_provider.register(CALLBACK)
    query = {"response_type": "code", "client_id": client_id, "redirect_uri": CALLBACK, "scope": "openid", "nonce": "n"}
    url = f"{oidc_provider.url}/oauth2/authorize?{urlencode(query)}"
    assert answer_of(await Person({"action": "deny"}).walk(url, until=CALLBACK))["error"] == "access_denied"


# --- the backend and the MCP client ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_mcp_client_uses_the_bare_backend(mode, mcp_backend, mcp_client):
    """Both eras of the transport: stateless with server/discover, and sessions with initialize."""
    steps = []

    async def note(progress, total, message):
        steps.append((progress, message))

    async with mcp_client.connect(mcp_backend.mcp_url, Person({}), mode=mode) as client:
        tools = await client.list_tools()
        assert {tool.name for tool in tools.tools} == {
            "get_issue", "list_issues", "create_issue", "watch_issues", "whoami"
        }  # fmt: skip
        issue = await client.call_tool("get_issue", {"number": 1})
        assert issue.content[0].text == "Login page is blank"
        await client.call_tool("watch_issues", {"steps": 3}, progress_callback=note)
        whoami = await client.call_tool("whoami")
    assert steps == [(0.0, "step 0"), (1.0, "step 1"), (2.0, "step 2")]
    arrived = whoami.structured_content["result"]
    assert ["host", f"127.0.0.1:{mcp_backend.port}"] in arrived
    assert arrived in [request["headers"] for request in mcp_backend.seen()]


@pytest.fixture(scope="module")
def guarded_url(servers_directory):
    need("mcp")
    port = free_port()
    command = [sys.executable, "-m", "real.guarded_mcp_server", str(port)]
    with Server("guarded", command, port=port, directory=servers_directory, env=OWN_MODULES) as server:
        yield f"{server.url}/mcp"


@pytest.mark.parametrize("listed", [False, True], ids=["registers itself", "is listed"])
async def test_mcp_client_signs_in_and_refreshes(listed, guarded_url, mcp_client):
    """401, discovery, registration (RFC 7591), consent by the person, PKCE, tokens; one refresh; nobody asked twice."""
    person, storage = Person({"decision": "approve"}), mcp_client.Storage()
    client_info = mcp_client.registered("listed") if listed else None
    async with mcp_client.connect(guarded_url, person, client_info=client_info, storage=storage) as client:
        assert (storage.client_info.client_id == "listed") == listed
        asked = len(person.pages)
        first = storage.tokens
        await asyncio.sleep(1.1)
        sent = (await client.call_tool("authorization")).content[0].text
    assert storage.tokens.refresh_token != first.refresh_token
    assert sent == f"Bearer {storage.tokens.access_token}"
    assert len(person.pages) == asked


async def test_mcp_client_reports_a_refusal(guarded_url, mcp_client):
    """RFC 6749 §4.1.2.1: the person's no arrives at the client, and the test sees it as such."""
    with pytest.raises(mcp_client.SignInRefusedError, match="access_denied"):
        async with mcp_client.connect(guarded_url, Person({"decision": "deny"})):
            pass


async def test_mcp_client_reports_where_the_person_got_stuck(guarded_url, mcp_client):
    """The page in the message is what a failing end-to-end test has to show."""
    with pytest.raises(StuckError, match=r"Allow Real MCP client\?"):
        async with mcp_client.connect(guarded_url, Person({"username": "alice"})):
            pass


async def test_mcp_client_lets_a_failed_assertion_through(mcp_backend, mcp_client):
    """A test that fails inside of a session says so, and not that a task group had a problem."""
    with pytest.raises(AssertionError, match="as it was written"):
        async with mcp_client.connect(mcp_backend.mcp_url, Person({})):
            raise AssertionError("as it was written")


def test_backend_tells_what_arrived(mcp_backend):
    """Order, repeats and the raw path: the proof that a key was taken out and an identity put in."""
    headers = [("x-twice", "1"), ("authorization", "Bearer secret"), ("x-twice", "2")]
    reply = httpx.put(f"{mcp_backend.api_url}/echo/a%20b?q=%2F&q", headers=headers, content=b"\xff", trust_env=False)
    told = reply.json()
    assert (told["method"], told["path"], told["query"], told["body"]) == ("PUT", "/api/echo/a%20b", "q=%2F&q", "\xff")
    assert [value for name, value in told["headers"] if name == "x-twice"] == ["1", "2"]
    (seen,) = mcp_backend.seen()
    assert seen["headers"] == told["headers"]
    assert ["authorization", "Bearer secret"] in seen["headers"]
    mcp_backend.forget()
    assert mcp_backend.seen() == []


async def test_backend_streams_and_notices_who_leaves(mcp_backend):
    """One event every 100 ms, each sent at once; a reader that goes away is `broken`."""
    async with (
        httpx.AsyncClient(trust_env=False) as us,
        us.stream("GET", f"{mcp_backend.api_url}/stream?events=3") as it,
    ):
        events = [line async for line in it.aiter_lines() if line.startswith("data:")]
    assert events == [f'data: {{"number": {number}}}' for number in range(3)]
    async with (
        httpx.AsyncClient(trust_env=False) as us,
        us.stream("GET", f"{mcp_backend.api_url}/stream?events=600") as it,
    ):
        await anext(it.aiter_lines())
    for _ in range(100):
        if mcp_backend.seen()[-1]["outcome"] != "open":
            break
        await asyncio.sleep(0.05)
    assert [request["outcome"] for request in mcp_backend.seen()] == ["complete", "broken"]


def test_backend_serves_html(mcp_backend):
    """A page of the backend shares the gateway's origin: the sandbox tests need one."""
    assert get(f"{mcp_backend.api_url}/html").headers["content-type"].startswith("text/html")


def test_backend_refuses_foreign_hosts(mcp_backend):
    """The server's own protection against DNS rebinding is on, so a gateway has to send the right Host."""
    headers = {"host": "evil.example", "content-type": "application/json"}
    assert httpx.post(mcp_backend.mcp_url, headers=headers, content=b"{}", trust_env=False).status_code == 421
