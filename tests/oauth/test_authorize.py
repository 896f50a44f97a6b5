"""The authorization request: RFC 6749 §4.1.1 with PKCE, resource and `iss`."""

from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from vestibule.errors import (
    BadRedirectPage,
    ConsentRequired,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    OAuthError,
    UnauthorizedClient,
    UnsupportedResponseType,
)
from vestibule.model import ClientRecord, ClientSource
from vestibule.oauth.authorize import (
    AuthorizationRequest,
    check_redirect,
    error_url,
    read_request,
    response_url,
    success_url,
)
from vestibule.oauth.params import parse_query
from vestibule.oauth.resources import Resource

ISSUER = "https://gate.example"
CALLBACK = "https://app.example/cb"
CLIENT = ClientRecord(id="c1", source=ClientSource.DCR, name="App", redirect_uris=(CALLBACK, "http://localhost/cb"))
RESOURCES = [
    Resource(route="issues", url="https://gate.example/mcp", permissions=("read", "write", "admin"), defaults=("read",))
]
GOOD = {
    "response_type": "code",
    "client_id": "c1",
    "redirect_uri": CALLBACK,
    "state": "xyz",
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    "code_challenge_method": "S256",
    "resource": "https://gate.example/mcp",
    "scope": "read",
}


def params(**change):
    return parse_query(urlencode({k: v for k, v in (GOOD | change).items() if v is not None}).encode())


def read(client=CLIENT, **change):
    return read_request(client, CALLBACK, params(**change), RESOURCES)


# --- before the redirect URI is known to be good ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registered", "given", "answer"),
    [
        ((CALLBACK,), CALLBACK, CALLBACK),
        ((CALLBACK,), None, CALLBACK),
        (("cursor://x/cb",), None, "cursor://x/cb"),
        (("http://localhost/cb",), "http://localhost:5000/cb", "http://localhost:5000/cb"),
        (("https://a.example/", CALLBACK), CALLBACK, CALLBACK),
        ((CALLBACK, "https://a.example/"), None, "redirect_uri_missing"),
        (("http://localhost/cb",), None, "redirect_uri_missing"),
        (("http://localhost:5000/cb",), None, "redirect_uri_missing"),
        ((), None, "redirect_uri_missing"),
        ((CALLBACK,), "https://app.example/cb/", "redirect_uri_unregistered"),
        ((), CALLBACK, "redirect_uri_unregistered"),
        (("http://localhost/cb",), "http://localhost:99999/cb", "redirect_uri_unacceptable"),
        (("javascript:alert(1)",), "javascript:alert(1)", "redirect_uri_unacceptable"),
        (("javascript:alert(1)",), None, "redirect_uri_unacceptable"),
    ],
)
def test_check_redirect(registered, given, answer):
    """RFC 6749 §3.1.2.3: omitted only if one could be meant; whatever is registered, a script URI is never used."""
    client = structs.replace(CLIENT, redirect_uris=registered)
    try:
        assert check_redirect(client, params(redirect_uri=given)) == answer
    except BadRedirectPage as page:
        assert page.slug == answer  # noqa: PT017  # the table names the outcome, value or refusal


@pytest.mark.parametrize(
    "given",
    [
        "https://evil.example/cb",
        "https://app.example.evil.example/cb",
        "https://app.example@evil.example/cb",
        "https://app.example/cb/../evil",
        "https://app.example/cb?next=https://evil.example",
        "https://app.example/cb#x",
        "//evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "http://localhost:80@evil.example/cb",
    ],
)
def test_attack_redirect_uri_unchecked_at_authorize(given):
    """CVE-2025-4143: an unregistered redirect URI gets a page, never a redirect."""
    with pytest.raises(BadRedirectPage):
        check_redirect(CLIENT, params(redirect_uri=given))


# --- afterwards -------------------------------------------------------------------------------------------------------


def test_request_is_read():
    """The validated request is plain JSON: it rides in a signed form field and in the login's row."""
    request = read()
    assert request == AuthorizationRequest(
        client_id="c1",
        redirect_uri=CALLBACK,
        state="xyz",
        challenge=GOOD["code_challenge"],
        route="issues",
        resource="https://gate.example/mcp",
        permissions=("read",),
    )
    assert msgspec.convert(msgspec.to_builtins(request), AuthorizationRequest) == request


@pytest.mark.parametrize(
    ("change", "error", "slug"),
    [
        ({"response_type": None}, InvalidRequest, "response_type_missing"),
        ({"response_type": "token"}, UnsupportedResponseType, "response_type"),
        ({"response_type": "code id_token"}, UnsupportedResponseType, "response_type"),
        ({"response_mode": "fragment"}, InvalidRequest, "response_mode"),
        ({"response_mode": "form_post"}, InvalidRequest, "response_mode"),
        ({"request": "eyJ.e30."}, InvalidRequest, "request_object"),
        ({"request_uri": "http://169.254.169.254/"}, InvalidRequest, "request_object"),
        ({"state": "x" * 2049}, InvalidRequest, "state_too_long"),
        ({"state": "é" * 1025}, InvalidRequest, "state_too_long"),
        ({"code_challenge": None}, InvalidRequest, "pkce_missing"),
        ({"code_challenge": None, "code_challenge_method": None}, InvalidRequest, "pkce_missing"),
        ({"code_challenge_method": None}, InvalidRequest, "pkce_plain"),
        ({"code_challenge_method": "plain"}, InvalidRequest, "pkce_method"),
        ({"code_challenge_method": "s256"}, InvalidRequest, "pkce_method"),
        ({"code_challenge_method": "S512"}, InvalidRequest, "pkce_method"),
        ({"code_challenge": "x" * 42}, InvalidRequest, "pkce_challenge"),
        ({"code_challenge": "x" * 44}, InvalidRequest, "pkce_challenge"),
        ({"code_challenge": "x" * 42 + "="}, InvalidRequest, "pkce_challenge"),
        ({"code_challenge": "x" * 42 + "+"}, InvalidRequest, "pkce_challenge"),
        ({"prompt": "none"}, ConsentRequired, "prompt_none"),
        ({"resource": "https://gate.example"}, InvalidTarget, "resource_unknown"),
        ({"resource": "https://gate.example/mcp#x"}, InvalidTarget, "resource_malformed"),
        ({"scope": "unknown"}, InvalidScope, "scope_unknown"),
        ({"scope": "unknown offline_access"}, InvalidScope, "scope_unknown"),
        ({"scope": 'read "'}, InvalidScope, "scope_malformed"),
    ],
)
def test_request_is_refused(change, error, slug):
    """RFC 6749 §4.1.2.1, RFC 7636 §4.4.1, RFC 8707 §2: each with its own wire code, all redirectable."""
    with pytest.raises(error) as refused:
        read(**change)
    assert refused.value.slug == slug
    assert isinstance(refused.value, OAuthError)


@pytest.mark.parametrize(
    ("scope", "permissions"),
    [
        (None, ("read",)),
        ("read", ("read",)),
        ("write read", ("read", "write")),
        ("read unknown", ("read",)),
        ("read offline_access", ("read",)),
        ("offline_access", ("read",)),
        (" offline_access", ("read",)),
        ("openid profile email offline_access", ("read",)),
    ],
)
def test_scope(scope, permissions):
    """RFC 6749 §3.3: unknown names are dropped; habitual ones alone count as none named."""
    assert read(scope=scope).permissions == permissions


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "consent"},
        {"prompt": "login consent"},
        {"response_mode": "query"},
        {"resource": None},
        {"resource": "https://GATE.example:443/mcp/"},
        {"nonce": "n", "ui_locales": "de"},
        {"state": "x" * 2048},
    ],
    ids=str,
)
def test_request_of_real_clients_is_accepted(change):
    """RFC 6749 §3.1: unknown parameters are ignored; MCP's TypeScript client adds `prompt=consent`."""
    assert read(**change).route == "issues"


def test_client_without_the_code_grant_is_refused():
    """RFC 6749 §4.1.2.1 unauthorized_client."""
    with pytest.raises(UnauthorizedClient):
        read(structs.replace(CLIENT, grant_types=("client_credentials",)))


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://a.example/cb", "https://a.example/cb?code=1"),
        ("https://a.example/cb?t=1", "https://a.example/cb?t=1&code=1"),
        ("https://a.example/cb?", "https://a.example/cb?code=1"),
        ("https://a.example", "https://a.example?code=1"),
        ("cursor://x/cb", "cursor://x/cb?code=1"),
        ("com.example.app:/cb", "com.example.app:/cb?code=1"),
    ],
)
def test_response_url(uri, expected):
    """RFC 6749 §3.1.2: an existing query is retained; what is None is left out."""
    assert response_url(uri, code="1", state=None) == expected


def test_success_url():
    """RFC 6749 §4.1.2 and RFC 9207 §2: code, the state exactly as received, and the issuer."""
    state = 'a b&c=d#e"<é>+%20'
    url = success_url(structs.replace(read(), state=state), "c0de", ISSUER)
    assert parse_qs(urlsplit(url).query) == {"code": ["c0de"], "state": [state], "iss": [ISSUER]}
    assert url.startswith(CALLBACK + "?")


def test_error_url():
    """RFC 6749 §4.1.2.1 and RFC 9207 §2; slug and detail stay here."""
    url = error_url(CALLBACK, "xyz", InvalidScope("scope_unknown", "internal detail"), ISSUER)
    query = parse_qs(urlsplit(url).query)
    assert (query["error"], query["state"], query["iss"]) == (["invalid_scope"], ["xyz"], [ISSUER])
    assert "detail" not in url
    assert "scope_unknown" not in url
    assert "state" not in error_url(CALLBACK, None, InvalidScope("x"), ISSUER)


def test_error_url_does_not_repeat_an_oversized_state():
    """The state that was refused for its size is not sent back in a header."""
    assert len(error_url(CALLBACK, "x" * 60_000, InvalidRequest("state_too_long"), ISSUER)) < 400


@given(st.text(max_size=200))
def test_attack_header_injection_by_state(state):
    """Whatever a state holds, the Location header is printable ASCII and gives it back unchanged."""
    url = error_url(CALLBACK, state, InvalidScope("x"), ISSUER)
    assert all(0x20 < ord(character) < 0x7F for character in url)
    assert parse_qs(urlsplit(url).query, keep_blank_values=True)["state"] == [state]


@given(st.dictionaries(st.sampled_from([*GOOD, "prompt", "response_mode"]), st.text(max_size=60)), st.text(max_size=60))
def test_any_request_is_read_or_refused(change, uri):
    """No parameters raise anything but the declared errors; nothing unregistered is ever a redirect target."""
    try:
        given_params = params(**change)
        redirect_uri = check_redirect(CLIENT, given_params)
        assert redirect_uri == CALLBACK or redirect_uri.startswith("http://localhost")
        read_request(CLIENT, redirect_uri, given_params, RESOURCES)
        check_redirect(CLIENT, parse_query(urlencode({"redirect_uri": uri}).encode()))
    except (OAuthError, BadRedirectPage):
        pass
