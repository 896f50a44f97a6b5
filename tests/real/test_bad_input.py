"""What goes wrong goes wrong clearly: a page or an error with a trace id, a log line with a stable reason, no secret in
either, and nothing half-made in the tables. Every test is held against that by a `Judge`.

The gateway, the providers and the people are real; broken are an answer, a setting or somebody's intentions.
"""

import asyncio
import base64
import json
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import yaml

from real.django_provider import ALICE, BOB, DjangoProvider
from real.evidence import Judge, made, query
from real.gateway import Gateway
from real.mcp_backend import McpBackend
from real.oauth_client import REDIRECT_URI, OAuthClient, answer_of, call_tool, send
from real.oidc_mock import CAROL, DAVE, OidcProvider
from real.person import Page, Person
from real.processes import free_port, need, program
from real.shapes import CLERK, DEFINITIONS, PERMISSIONS, SENTRY, clerk_shaped, gateway_with, route, sentry_shaped

ENTRIES = ("sentry", "wrong-secret", "down", "drip")
CLIENTS = [
    {"id": "desk", "name": "Desk", "redirect_uris": [REDIRECT_URI]},
    {"id": "other", "name": "Other", "redirect_uris": [REDIRECT_URI]},
    {"id": "office", "name": "Office", "redirect_uris": [REDIRECT_URI], "secret": secrets.token_urlsafe(32)},
]


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DjangoProvider]:
    """A provider of this module's own, because it is made to misbehave."""
    need("oauth2_provider")
    uris = [f"http://127.0.0.1/oauth/callback/{entry}" for entry in ENTRIES]
    with DjangoProvider(tmp_path_factory.mktemp("django"), redirect_uris=uris) as provider:
        yield provider


@pytest.fixture(scope="module")
def nobody() -> Iterator[int]:
    """A port that is taken and refuses every connection."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def drip() -> Iterator[int]:
    """A port where an answer begins and comes byte by byte, for ever: no single read ever takes long."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-filler: " + b"a" * 1000:
                connection.send(bytes([byte]))
                time.sleep(0.2)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def config_for(
    tmp_path_factory: pytest.TempPathFactory,
    django: DjangoProvider,
    oidc_provider: OidcProvider,
    _mcp_backend: McpBackend,
    nobody: int,
    drip: int,
) -> Callable[[str], dict[str, Any]]:
    """Everybody may use /mcp, people of acme.example /staff. Two providers work; three have a fault of their own."""
    directory = tmp_path_factory.mktemp("definitions")

    def elsewhere(name: str, port: int) -> str:
        token = {"url": f"http://127.0.0.1:{port}/oauth/token/"}
        path = directory / f"{name}.yaml"
        shutil.copy(DEFINITIONS / "sentry_shape.yaml", path.parent)  # a definition extends only what lies beside it
        path.write_text(yaml.safe_dump({"extends": "./sentry_shape.yaml", "token": token}))
        return str(path)

    def config(url: str) -> dict[str, Any]:
        wrong = {"id": django.client_id, "secret": secrets.token_urlsafe(32)}
        backend, staff = _mcp_backend.mcp_url, [{"email_domain": "acme.example"}]
        return {
            "providers": {
                "sentry": sentry_shaped(django),
                "clerk": clerk_shaped(oidc_provider, url),
                "wrong-secret": sentry_shaped(django, client=wrong),
                "down": sentry_shaped(django, definition=elsewhere("down", nobody)),
                "drip": sentry_shaped(django, definition=elsewhere("drip", drip)),
            },
            "routes": [
                route("issues", "/mcp", backend, providers=[*ENTRIES, "clerk"], permissions=PERMISSIONS),
                route("staff", "/staff", backend, permissions=PERMISSIONS, allow=staff),
            ],
            "clients": CLIENTS,
        }

    return config


@pytest.fixture(scope="module")
def gate(servers_directory: Path, config_for: Callable[[str], dict[str, Any]]) -> Iterator[Gateway]:
    need("vestibule")
    with gateway_with(servers_directory, config_for) as gateway:
        yield gateway


@pytest.fixture
def judge(gate: Gateway) -> Iterator[Judge]:
    judge = Judge(gate)
    yield judge
    judge.conclude()


@pytest.fixture
def desk(gate: Gateway) -> OAuthClient:
    return OAuthClient(gate.url, "desk")


def alice(judge: Judge, entry: str = "sentry") -> Person:
    return judge.ledger.person({**SENTRY.approving(), "decision": f"approve:{entry}"})


def carol(judge: Judge, *permissions: str) -> Person:
    return judge.ledger.person(CLERK.approving(*permissions))


async def to_callback(client: OAuthClient, person: Person, path: str = "/mcp") -> str:
    """The provider has said yes or no, and the browser is about to come back: the address that it would open."""
    return await person.walk(client.authorize_url(path), until=f"{client.issuer}/oauth/callback/")


def with_query(url: str, **change: str | None) -> str:
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} | change
    return f"{url.partition('?')[0]}?{urlencode({name: value for name, value in query.items() if value is not None})}"


# --- the operator's mistakes -----------------------------------------------------------------------------------------

SECRET = "an-easily-recognised-secret-that-is-long-enough-0123456789"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"secrets": {"signing": ["changeme-changeme"], "sealing": [SECRET]}}, "a weak secret"),
        ({"secrets": {"signing": ["${NOT_SET}"], "sealing": [SECRET]}}, "NOT_SET"),
        ({"secrets": None}, "secrets"),
        ({"public_url": "http://gate.example.com"}, "https, unless the host is loopback"),
        ({"routes": [{"id": "a", "path": "/a", "backend": "http://127.0.0.1:1", "providers": ["sentry"]}]}, "allow"),
        ({"routes": [route("a", "/oauth", "http://127.0.0.1:1", providers=["sentry"])]}, "does not overlap /oauth"),
        ({"routes": [route("a", "/a", "http://127.0.0.1:1", providers=["sentri"])]}, "did you mean sentry?"),
        ({"rotues": []}, "rotues"),
    ],
    ids=["weak secret", "unset variable", "no secrets", "http", "nobody allowed", "reserved", "unknown", "misspelt"],
)
def test_serve_refuses_a_broken_config(change, told, tmp_path):
    """Design decision 20: fail closed. Exit code 1, the file with the mistake, no secret, and nothing was started."""
    port, path, database = free_port(), tmp_path / "vestibule.yaml", tmp_path / "gate.db"
    config: dict[str, Any] = {
        "public_url": f"http://127.0.0.1:{port}",
        "storage": f"sqlite:///{database}",
        "secrets": {"signing": [SECRET], "sealing": [SECRET]},
        "providers": {"sentry": {"client": {"id": "gate", "secret": SECRET}}},
        "routes": [route("a", "/a", "http://127.0.0.1:1", providers=["sentry"])],
    }
    path.write_text(yaml.safe_dump({name: value for name, value in (config | change).items() if value is not None}))
    command = [program("vestibule") or "", "serve", "--config", str(path), "--port", str(port)]
    ended = subprocess.run(command, env={}, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1, ended.stderr
    assert told in ended.stderr
    assert f"{path.name}" in ended.stderr.replace("\n", "")
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    assert not database.exists()


# --- the provider's mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "fault", "status", "slug", "says"),
    [
        ("wrong-secret", "none", 502, "provider_error", "not set up correctly"),
        ("down", "none", 503, "provider_connect", "cannot be reached"),
        ("drip", "none", 503, "provider_timeout", "cannot be reached"),
        ("sentry", "error", 503, "provider_unavailable", "cannot be reached"),
        ("sentry", "html", 502, "token_reply_unreadable", "not set up correctly"),
    ],
    ids=["wrong client secret", "down", "slow", "500", "garbage"],
)
async def test_a_provider_in_trouble(entry, fault, status, slug, says, judge, desk, django):
    """RFC 6749 §5.2: what is wrong at the provider is shown as that, with a way back to the client; the login is over
    and can be started again. A slow answer costs the ten seconds that `outbound` gives to a whole call.
    """
    person = alice(judge, entry)
    callback = await to_callback(desk, person)
    try:
        django.misbehave(fault)
        page = judge.page(await person.visit(callback), status, slug, says=says)
    finally:
        django.misbehave("none")
    assert "Back to Desk" in page.text
    code = "temporarily_unavailable" if status == 503 else "server_error"
    assert f"{REDIRECT_URI}?error={code}" in page.html
    assert query(judge.gateway, "SELECT step, error_slug FROM logins ORDER BY created_at DESC, rowid DESC LIMIT 1") == [
        ("failed", slug)
    ]
    judge.page(await person.visit(callback), 400, "state_replayed")
    judge.conclude()
    assert await desk.code(alice(judge))
    judge.made_on_purpose()


async def test_a_slow_provider_is_waited_for(judge, desk, django):
    """A second is not trouble."""
    django.misbehave("slow", seconds=1.0)
    try:
        assert await desk.code(alice(judge))
    finally:
        django.misbehave("none")
    judge.made_on_purpose()


async def test_the_provider_says_access_denied(judge, desk):
    """RFC 6749 §4.1.2.1: the person declined there; it is not called an error of ours."""
    person = alice(judge)
    person.answers["allow"] = False
    callback = await to_callback(desk, person)
    assert answer_of(callback)["error"] == "access_denied"
    page = judge.page(await person.visit(callback), 403, "provider_access_denied", says="You declined")
    assert f"{REDIRECT_URI}?error=access_denied" in page.html


@pytest.mark.parametrize(
    ("answer", "status", "slug"),
    [
        ({"error": "server_error", "code": None}, 503, "server_error"),
        ({"error": "<script>alert(1)</script>", "code": None}, 502, "provider_error"),
        ({"error": "invalid_scope", "error_description": "\x1b[31mred", "code": None}, 400, "control_character"),
        ({"code": None}, 502, "code_missing"),
        ({"code": "x" * 5000}, 502, "code_malformed"),
        ({"code": "made-up"}, 403, "invalid_grant"),
    ],
    ids=["server_error", "HTML", "control characters", "no code", "long code", "wrong code"],
)
async def test_the_provider_answers_oddly(answer, status, slug, judge, desk):
    """RFC 6749 §4.1.2, §4.1.2.1: whatever the browser brings back, it is refused as what it is and never echoed raw."""
    person = alice(judge)
    page = judge.page(await person.visit(with_query(await to_callback(desk, person), **answer)), status, slug)
    assert "<script>" not in page.html
    assert "\x1b" not in page.html


# --- the way back ----------------------------------------------------------------------------------------------------


async def test_a_form_and_a_state_expire(start, tmp_path, config_for):
    """`lifetimes.login`: an old consent form and an old callback are told from forged ones, and make nothing."""
    gate = start(gateway_with(tmp_path, lambda url: config_for(url) | {"lifetimes": {"login": 3}}))
    judge, client = Judge(gate), OAuthClient(gate.url, "desk")
    left_open, person = carol(judge), carol(judge)
    consent = await left_open.visit(client.authorize_url())
    callback = await to_callback(client, person)
    await asyncio.sleep(3.1)
    judge.page(await person.visit(callback), 400, "state_expired", says="took too long")
    page = judge.page(await left_open.submit(consent, consent.forms[0]), 400, "form_expired", says="open for too long")
    assert f"{REDIRECT_URI}?error=access_denied" in page.html
    judge.conclude()


async def test_a_callback_works_once(judge, desk):
    """RFC 9700 §4.7.1: a replay is a page; it neither makes nor ends anything."""
    person = carol(judge)
    callback = await to_callback(desk, person)
    arrived = await person.visit(callback, until=REDIRECT_URI)
    assert isinstance(arrived, str)
    judge.made_on_purpose()
    judge.page(await person.visit(callback), 400, "state_replayed", says="already used")
    tokens = (await desk.redeem(answer_of(arrived)["code"])).json()
    judge.ledger.note_tokens(tokens)
    assert (await call_tool(f"{desk.issuer}/mcp", tokens["access_token"], "list_issues")).status_code == 200
    judge.made_on_purpose()


async def test_a_callback_opened_twice_at_once_works_once(judge, desk, django):
    """Design decision 1: of two racing callbacks one moves the login on; the other is a replay and does it no harm."""
    person = alice(judge)
    callback = await to_callback(desk, person)
    django.misbehave("slow", seconds=0.5)
    try:
        answers = await asyncio.gather(*(person.visit(callback, until=REDIRECT_URI) for _ in range(3)))
    finally:
        django.misbehave("none")
    (arrived,) = (answer for answer in answers if isinstance(answer, str))
    for page in answers:
        if page is not arrived:
            judge.page(page, 400, "state_replayed")
    assert (await desk.redeem(answer_of(arrived)["code"])).status_code == 200
    judge.made_on_purpose()


async def test_attack_callback_in_other_browser(judge, desk):
    """CVE-2026-27124: an attacker approves, and a victim opens the captured callback. Only the browser that approved
    has this login's cookie; a victim with a login of its own under way is no better off for the attacker. The rightful
    browser is not harmed.
    """
    person, victim, busy = alice(judge), judge.ledger.person({}), carol(judge)
    callback = await to_callback(desk, person)
    await to_callback(desk, busy)
    for other in (victim, busy):
        judge.page(await other.visit(callback), 403, "login_of_other_browser", says="another browser")
    judge.conclude()
    assert isinstance(await person.visit(callback, until=REDIRECT_URI), str)
    judge.made_on_purpose()


def unsigned(state: str) -> str:
    """RFC 8725 §2.1: `alg: none`."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    return f"{header}.{state.split('.')[1]}."


@pytest.mark.parametrize(
    "tamper",
    [
        lambda state: state[:-2] + ("A" if state[-2] != "A" else "B") + state[-1],
        lambda state: state[:-5],
        lambda state: state.replace(".", ".A", 1),
        unsigned,
        lambda _: "made-up",
        lambda _: None,
    ],
    ids=["signature", "truncated", "payload", "alg none", "made up", "missing"],
)
async def test_a_tampered_state(tamper, judge, desk):
    """RFC 6749 §10.12: refused before anything is looked up."""
    person = carol(judge)
    callback = await to_callback(desk, person)
    changed = with_query(callback, state=tamper(answer_of(callback)["state"]))
    judge.page(await person.visit(changed), 400, "state_invalid", says="not valid")


async def test_a_consent_form_is_no_state(judge, desk):
    """Decision 20: every purpose has a key of its own, so no signed value of ours passes for another."""
    person = carol(judge)
    signed = (await person.visit(desk.authorize_url())).forms[0].values("request")[0]
    judge.page(await person.visit(f"{desk.issuer}/oauth/callback/clerk?code=x&state={signed}"), 400, "state_invalid")


@pytest.mark.parametrize(
    ("entry", "slug"),
    [("clerk", "state_of_other_provider"), ("nobody", "provider_unknown"), ("%2e%2e", "provider_unknown")],
)
async def test_a_callback_at_another_provider(entry, slug, judge, desk):
    """RFC 9700 §4.4 mix-up: a state is good at its own provider's address only; an unknown provider is none."""
    person = alice(judge)
    callback = await to_callback(desk, person)
    changed = callback.replace("/oauth/callback/sentry", f"/oauth/callback/{entry}")
    judge.page(await person.visit(changed), 400, slug)


async def test_a_callback_with_a_parameter_twice(judge, desk):
    """RFC 6749 §3.1: which of two codes counts is not left to chance."""
    person = carol(judge)
    judge.page(await person.visit(await to_callback(desk, person) + "&code=other"), 400, "parameter_repeated")


# --- consent ---------------------------------------------------------------------------------------------------------


async def test_denied_consent(judge, desk):
    """RFC 6749 §4.1.2.1 access_denied with `iss` and the state; no login was ever made."""
    logins = query(judge.gateway, "SELECT count(*) FROM logins")
    person = judge.ledger.person({"decision": "deny"})
    answer = answer_of(await person.walk(desk.authorize_url(), until=REDIRECT_URI))
    assert (answer["error"], answer["iss"], answer["state"]) == ("access_denied", desk.issuer, "the client's own")
    assert query(judge.gateway, "SELECT count(*) FROM logins") == logins


async def test_no_permission_ticked(judge, desk):
    """Protocol order, callback: at least one permission. The page comes again and says so; nothing is lost."""
    person = carol(judge)
    person.answers["permission"] = []
    page = await person.visit(desk.authorize_url())
    again = await person.submit(page, page.forms[0])
    assert isinstance(again, Page)
    assert (again.status, "Choose at least one permission" in again.text) == (200, True)
    person.answers["permission"] = ["read"]
    left = await person.submit(again, again.forms[0], until=REDIRECT_URI)
    assert isinstance(left, Page)  # the provider's question
    assert left.url.startswith(judge.gateway.config["providers"]["clerk"]["params"]["issuer"])


@pytest.mark.parametrize(
    ("headers", "browser", "change", "slug"),
    [
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, "own", {}, "form_from_other_site"),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9"}, "own", {}, "form_from_other_site"),
        ({"sec-fetch-site": "cross-site", "origin": "null"}, "own", {}, "form_from_other_site"),
        ({"origin": "https://evil.example"}, "own", {}, "form_from_other_site"),
        ({}, "none", {}, "form_of_other_browser"),
        ({}, "another's", {}, "form_of_other_browser"),
        ({}, "own", {"request": "made-up"}, "form_invalid"),
        ({}, "own", {"request": ""}, "form_invalid"),
        ({}, "own", {"decision": "approve:development"}, "decision_unknown"),
        ({}, "own", {"decision": ""}, "decision_unknown"),
    ],
    ids=[
        "another site", "another port", "sandboxed frame", "old browser", "no cookie", "another's cookie",
        "made-up form", "no form", "a provider that is not offered", "no decision",
    ],
)  # fmt: skip
async def test_attack_consent_csrf(headers, browser, change, slug, judge, desk):
    """RFC 9700 §4.7, OAuth 2.1 §7.12: a consent form counts only from our own page, in the browser that it was shown
    to. An attacker's own signed form in a victim's browser is the fifth and sixth row.
    """
    person, another = carol(judge), carol(judge)
    page = await person.visit(desk.authorize_url())
    await another.visit(desk.authorize_url())
    logins = query(judge.gateway, "SELECT count(*) FROM logins")
    form = {"request": page.forms[0].values("request")[0], "permission": "read", "decision": "approve:clerk"} | change
    jar = {"own": person.jar, "another's": another.jar, "none": None}[browser]
    accept = {"accept": "text/html", **headers}
    async with httpx.AsyncClient(cookies=jar, trust_env=False, timeout=20) as http:
        reply = await http.post(f"{desk.issuer}/oauth/authorize", data=form, headers=accept)
    assert "location" not in reply.headers
    assert "set-cookie" not in reply.headers
    judge.page(Page(reply.status_code, str(reply.url), reply.text, reply.headers), 400, slug)
    assert query(judge.gateway, "SELECT count(*) FROM logins") == logins


# --- what a client asks for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "slug"),
    [
        ({"redirect_uri": "https://evil.example/callback"}, "invalid_request", "redirect_uri_unregistered"),
        ({"redirect_uri": REDIRECT_URI + "/../evil"}, "invalid_request", "redirect_uri_unregistered"),
        ({"redirect_uri": "javascript:alert(1)"}, "invalid_request", "redirect_uri_unregistered"),
        ({"redirect_uri": None}, "invalid_request", "redirect_uri_missing"),
        ({"client_id": "nobody"}, "invalid_client", "client_unknown"),
        ({"client_id": "https://127.0.0.1/client.json"}, "invalid_client", "client_unknown"),
        ({"client_id": None}, "invalid_request", "client_id_missing"),
    ],
    ids=str,
)
async def test_who_asks_is_not_known(change, code, slug, judge, desk):
    """RFC 6749 §4.1.2.1, CVE-2025-4143: nothing is redirected, and no link leads there. A person gets a page; a program
    that asked for JSON gets an error that it can act on (mcp-remote does).
    """
    url = desk.authorize_url(**change)
    page = judge.page(await judge.ledger.person({}).visit(url), 400, slug)
    assert "location" not in page.headers
    assert "evil" not in page.html
    assert "javascript" not in page.html
    judge.document(await send("GET", url, headers={"accept": "application/json"}), 400, code, slug)


@pytest.mark.parametrize(
    ("change", "code", "slug"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request", "pkce_missing"),
        ({"code_challenge_method": "plain"}, "invalid_request", "pkce_method"),
        ({"code_challenge_method": None}, "invalid_request", "pkce_plain"),
        ({"code_challenge": "short"}, "invalid_request", "pkce_challenge"),
        ({"response_type": "token"}, "unsupported_response_type", "response_type"),
        ({"response_mode": "fragment"}, "invalid_request", "response_mode"),
        ({"request_uri": "https://evil.example/request"}, "invalid_request", "request_object"),
        ({"scope": "admin"}, "invalid_scope", "scope_unknown"),
        ({"resource": "https://evil.example/mcp"}, "invalid_target", "resource_unknown"),
        ({"resource": None}, "invalid_target", "resource_missing"),
        ({"prompt": "none"}, "consent_required", "prompt_none"),
    ],
    ids=str,
)
async def test_what_a_client_asks_for_is_refused(change, code, slug, judge, desk):
    """RFC 7636 §4.4.1, OAuth 2.1 §4.1.2.1: a client that the operator knows is told through its redirect URI; one that
    nobody vouches for yet is not redirected to automatically (RFC 9700 §4.11.2), the person decides.
    """
    judge.redirect(await send("GET", desk.authorize_url(**change)), REDIRECT_URI, code, slug)
    document = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none", "client_name": "New"}
    new = (await send("POST", f"{desk.issuer}/oauth/register", json=document)).json()["client_id"]
    page = await judge.ledger.person({}).visit(OAuthClient(desk.issuer, new).authorize_url(**change))
    assert "Back to New" in judge.page(page, 400, slug).text


# --- codes and tokens ------------------------------------------------------------------------------------------------


@pytest.fixture
async def code(judge: Judge, desk: OAuthClient) -> str:
    """A code of `desk` that nobody has used."""
    found = await desk.code(carol(judge))
    judge.ledger.note(desk.verifier)
    judge.made_on_purpose()
    return found


@pytest.fixture
async def tokens(judge: Judge, desk: OAuthClient, code: str) -> dict[str, Any]:
    """What `desk` got for it."""
    reply = (await desk.redeem(code)).json()
    judge.ledger.note_tokens(reply)
    judge.made_on_purpose()
    return dict(reply)


def client_of(desk: OAuthClient, client_id: str, secret: str | None = None) -> OAuthClient:
    return OAuthClient(desk.issuer, client_id, secret, verifier=desk.verifier)


async def test_a_code_is_refused_when(judge, desk, code):
    """RFC 6749 §4.1.3 and §5.2, RFC 7636 §4.6, RFC 8707 §2.2. What is refused leaves the code as it was."""
    for change, error, slug in (
        ({"code_verifier": "w" * 43}, "invalid_grant", "verifier_wrong"),
        ({"code_verifier": None}, "invalid_grant", "verifier_missing"),
        ({"code_verifier": "short"}, "invalid_grant", "verifier_malformed"),
        ({"redirect_uri": REDIRECT_URI + "/other"}, "invalid_grant", "redirect_uri_differs"),
        ({"code": "guessed"}, "invalid_grant", "code_unknown"),
        ({"code": None}, "invalid_request", "code_missing"),
        ({"resource": f"{desk.issuer}/staff"}, "invalid_target", "resource_differs"),
    ):
        judge.document(await desk.redeem(**{"code": code} | change), 400, error, slug)
    judge.document(
        await client_of(desk, "other").redeem(code), 400, "invalid_grant", "code_of_another_client"
    )  # CVE-2026-55672
    judge.conclude()
    assert (await desk.redeem(code)).status_code == 200
    judge.made_on_purpose()


async def test_attack_code_replay(judge, desk, code):
    """RFC 6749 §4.1.2: a code used twice revokes what it gave; but only a fully valid replay does, or whoever saw the
    code in a log could sign people out.
    """
    tokens = judge.ledger.note_tokens((await desk.redeem(code)).json())
    url = f"{desk.issuer}/mcp"
    assert (await call_tool(url, tokens["access_token"], "list_issues")).status_code == 200
    judge.made_on_purpose()
    judge.document(await desk.redeem(code, code_verifier="w" * 43), 400, "invalid_grant", "verifier_wrong")
    judge.document(await client_of(desk, "other").redeem(code), 400, "invalid_grant", "code_of_another_client")
    assert (await call_tool(url, tokens["access_token"], "list_issues")).status_code == 200
    judge.document(await desk.redeem(code), 400, "invalid_grant", "code_replayed")
    assert (await call_tool(url, tokens["access_token"], "list_issues")).status_code == 401
    judge.document(await desk.refresh(tokens["refresh_token"]), 400, "invalid_grant", "family_revoked")


@pytest.mark.parametrize(
    ("client_id", "secret", "slug"),
    [
        ("nobody", None, "client_unknown"),
        ("office", None, "client_secret_missing"),
        ("office", "w" * 43, "client_secret_wrong"),
        ("desk", "w" * 43, "client_secret_unregistered"),
    ],
)
async def test_who_redeems_is_not_the_client(client_id, secret, slug, judge, desk, code):
    """RFC 6749 §2.3, §5.2 invalid_client."""
    judge.document(await client_of(desk, client_id, secret).redeem(code), 401, "invalid_client", slug)


@pytest.mark.parametrize(
    ("body", "error", "slug"),
    [
        ({"content": b"client_id=desk"}, "invalid_request", "grant_type_missing"),
        ({"content": b"client_id=desk&grant_type=password"}, "unsupported_grant_type", "grant_type_unknown"),
        ({"content": b"client_id=desk&client_id=other"}, "invalid_request", "parameter_repeated"),
        ({"content": b"client_id=%ff"}, "invalid_request", "parameters_malformed"),
        ({"json": {"client_id": "desk", "grant_type": "authorization_code"}}, "invalid_request", "content_type"),
    ],
    ids=str,
)
async def test_a_malformed_token_request(body, error, slug, judge, desk):
    """RFC 6749 §3.2, Appendix B."""
    form = {"headers": {"content-type": "application/x-www-form-urlencoded"}} if "content" in body else {}
    judge.document(await send("POST", f"{desk.issuer}/oauth/token", **body, **form), 400, error, slug)


async def test_attack_token_of_another_client(judge, desk, tokens):
    """RFC 6749 §6, RFC 7009 §2.1, CVE-2026-55672: nobody refreshes or revokes what is another's, and the attempt does
    the owner no harm.
    """
    other = client_of(desk, "other")
    judge.document(await other.refresh(tokens["refresh_token"]), 400, "invalid_grant", "refresh_of_another_client")
    for token in (tokens["refresh_token"], tokens["access_token"]):
        judge.document(await other.revoke(token), 400, "unauthorized_client", "token_of_other_client")
    assert (await call_tool(f"{desk.issuer}/mcp", tokens["access_token"], "list_issues")).status_code == 200
    judge.conclude()
    judge.ledger.note_tokens((await desk.refresh(tokens["refresh_token"])).json())
    judge.made_on_purpose()


async def test_attack_token_of_another_kind(judge, desk, tokens, mcp_backend):
    """A refresh token opens nothing at the gate, and an access token refreshes nothing."""
    reply = await call_tool(f"{desk.issuer}/mcp", tokens["refresh_token"], "list_issues")
    judge.document(reply, 401, "invalid_token", "key_unknown")
    judge.document(await desk.refresh(tokens["access_token"]), 400, "invalid_grant", "refresh_token_unknown")
    judge.document(await desk.redeem(tokens["refresh_token"]), 400, "invalid_grant", "code_unknown")
    assert mcp_backend.seen() == []


@pytest.mark.parametrize(
    ("path", "authorization", "status", "error", "slug"),
    [
        ("/staff", "Bearer {key}", 401, "invalid_token", "key_of_other_route"),
        ("/mcp", "Bearer {key:.40}", 401, "invalid_token", "key_malformed"),
        ("/mcp", "Bearer made-up", 401, "invalid_token", "key_malformed"),
        ("/mcp", None, 401, "key_missing", "key_missing"),
        ("/mcp", "Basic {key}", 401, "key_missing", "key_missing"),
        ("/mcp?access_token={key}", None, 400, "key_in_query", "key_in_query"),
        ("/mcp/%2e%2e/staff", "Bearer {key}", 400, "path_dot_segment", "path_dot_segment"),
        ("/mcpx", "Bearer {key}", 404, "no_route", "no_route"),
    ],
)
async def test_a_key_is_refused_at_the_gate(path, authorization, status, error, slug, judge, tokens, mcp_backend):
    """RFC 6750 §3.1, CVE-2025-69196: 401 with a challenge that says where to sign in; nothing reaches the backend."""
    key = tokens["access_token"]
    headers = {"authorization": authorization.format(key=key)} if authorization else {}
    reply = await send("POST", judge.gateway.url + path.format(key=key), headers=headers, json={})
    judge.document(reply, status, error, slug)
    if status == 401:
        challenge = reply.headers["www-authenticate"]
        assert "/.well-known/oauth-protected-resource/" in challenge
        assert ('error="invalid_token"' in challenge) == (error == "invalid_token")
    assert mcp_backend.seen() == []


# --- who may enter ---------------------------------------------------------------------------------------------------

EVE = {"sub": "user_2eve", "email": "eve@other.example", "email_verified": True, "name": "Eve"}
MALLORY = {"sub": "user_2mallory", "email": "mallory@evil.example@acme.example", "email_verified": True, "name": "M"}
TRENT = {"sub": "user_2trent", "email": "trent@evilacme.example", "email_verified": True, "name": "Trent"}


@pytest.mark.parametrize(
    ("person", "names", "slug"),
    [
        (EVE, EVE["email"], "not_on_allow_list"),
        (TRENT, TRENT["email"], "not_on_allow_list"),
        (MALLORY, MALLORY["email"], "not_on_allow_list"),
        (DAVE, DAVE["email"], "email_not_verified"),
        (ALICE, ALICE["email"], "email_not_verified"),
        (BOB, "2", "not_on_allow_list"),
    ],
    ids=["another domain", "a longer domain", "two @", "not verified", "never verified there", "no address"],
)
async def test_who_is_not_on_the_list(person, names, slug, judge, desk, oidc_provider):
    """Design decision 8, CVE-2026-40574: the page says as whom one signed in; there is no user, grant or key."""
    if "sub" in person:
        oidc_provider.set_claims(person["sub"], {name: value for name, value in person.items() if name != "sub"})
        browser = judge.ledger.person({**CLERK.approving(), "sub": person["sub"]})
    else:
        credentials = {"username": person["username"], "password": person["password"]}
        browser = judge.ledger.person({**SENTRY.approving(), **credentials})
    page = await browser.visit(await to_callback(desk, browser, "/staff"))
    assert f"{REDIRECT_URI}?error=access_denied" in judge.page(page, 403, slug, says=f"signed in as {names}").html


async def test_who_is_on_the_list_enters(judge, desk):
    """The rule of the tests before does admit somebody: a verified address of the domain."""
    tokens = judge.ledger.note_tokens(await desk.sign_in(carol(judge), "/staff"))
    assert CAROL["email_verified"]
    assert (await call_tool(f"{desk.issuer}/staff", tokens["access_token"], "list_issues")).status_code == 200
    assert made(judge.gateway)["grants"]
    judge.made_on_purpose()
