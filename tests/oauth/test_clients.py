"""Redirect URIs and dynamic registration: what strangers may say about themselves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.errors import InvalidClientMetadata, InvalidRedirectUri
from vestibule.model import ClientSource
from vestibule.oauth.clients import (
    MAX_NAME_CHARACTERS,
    clean_name,
    is_loopback,
    read_registration,
    redirect_host,
    redirect_matches,
    redirect_problem,
    registration_response,
)

CALLBACK = "https://claude.ai/api/mcp/auth_callback"


def document(**fields):
    return msgspec.json.encode(
        {"redirect_uris": [CALLBACK], "client_name": "Claude", "token_endpoint_auth_method": "none"} | fields
    )


# --- redirect URIs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        CALLBACK,
        "https://chatgpt.com/connector/oauth/abc123",
        "https://vscode.dev/redirect",
        "https://app.example:8443/cb?tenant=1",
        "https://xn--pple-43d.com/cb",
        "https://app.example",
        "http://localhost/callback",
        "http://localhost:33418/",
        "http://localhost:33418",
        "http://127.0.0.1:6276/oauth/callback?x=1",
        "http://[::1]:8080/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "vscode-insiders://x/cb",
        "com.example.app:/oauth2redirect",
        "com.example.app:///oauth2redirect",
    ],
)
def test_redirect_uri_is_accepted(uri):
    """RFC 8252 §7.1 to §7.3 and RFC 9700 §2.1, as real clients use them."""
    assert redirect_problem(uri) is None


@pytest.mark.parametrize(
    ("uri", "slug"),
    [
        ("http://app.example/cb", "http_not_loopback"),
        ("http://localhost.evil.example/cb", "http_not_loopback"),
        ("http://127.0.0.1.evil.example/cb", "http_not_loopback"),
        ("http://127.0.0.2/cb", "http_not_loopback"),
        ("http://[::2]/cb", "http_not_loopback"),
        ("http://0x7f000001/cb", "http_not_loopback"),
        ("http:///cb", "http_not_loopback"),
        ("https:///evil.example", "host"),
        ("https:/evil.example/cb", "host"),
        ("https:evil.example/cb", "host"),
        ("https://*.example/cb", "host"),
        ("https://a,b/cb", "host"),
        ("https://app.example:/cb", "host"),
        ("https://app.example:70000/cb", "port"),
        ("https://app.example/a/../cb", "dot_segment"),
        ("https://app.example/a/%2E%2e/cb", "dot_segment"),
        ("https://app.example/.", "dot_segment"),
        ("cursor://x/../cb", "dot_segment"),
        ("https://app.example/cb#x", "fragment"),
        ("https://app.example/cb#", "fragment"),
        ("com.example.app:/cb#x", "fragment"),
        ("https://app.example/%zz", "percent"),
        ("https://app.example@evil.example/cb", "userinfo"),
        ("cursor://app@evil/cb", "userinfo"),
        ("https://app.example\\cb", "backslash"),
        ("https://app.example/c b", "control_or_space"),
        ("https://app.example/cb\n", "control_or_space"),
        ("https://app.example/<script>", "character"),
        ("https://\u0430pple.com/cb", "character"),
        ("mailto:a@b.example", "scheme"),
        ("urn:ietf:wg:oauth:2.0:oob", "scheme"),
        ("ws://app.example/cb", "scheme"),
        ("intent://x/cb", "scheme"),
        ("cursorx://x/cb", "scheme"),
        ("com..app:/cb", "scheme"),
        ("/callback", "not_absolute"),
        ("claude.ai/cb", "not_absolute"),
        ("", "not_absolute"),
        ("https://app.example/" + "a" * 2048, "too_long"),
    ],
)
def test_redirect_uri_is_refused(uri, slug):
    """RFC 6749 §3.1.2 (absolute, no fragment), RFC 8252 §7, RFC 9700 §2.1."""
    assert redirect_problem(uri) == slug


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "java\nscript:alert(1)",
        "\x01javascript:alert(1)",
        "javascript://claude.ai/%0Aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "data:text/html;base64,PHNjcmlwdD4=",
        "vbscript:msgbox(1)",
        "file:///etc/passwd",
        "blob:https://claude.ai/1",
        "about:blank",
        "view-source:https://claude.ai",
    ],
)
def test_attack_script_uri_as_redirect(uri):
    """A scheme that runs or reads something never receives an answer."""
    assert redirect_problem(uri) is not None
    with pytest.raises(InvalidRedirectUri):
        read_registration(document(redirect_uris=[uri]))


@pytest.mark.parametrize(
    "uri",
    [
        "//evil.example/cb",
        "\\\\evil.example/cb",
        "https:\\\\evil.example/cb",
        "https://claude.ai\\@evil.example/cb",
        "https://claude.ai@evil.example/cb",
        "https://claude.ai:443@evil.example/cb",
        "https://claude.ai%40evil.example/cb",
        "https://@evil.example/cb",
        "http://localhost:80@evil.example/cb",
        "http://localhost\\.evil.example/cb",
        "http://localhost:8080\t@evil.example",
    ],
)
def test_attack_open_redirect_by_slashes_and_at(uri):
    """What two readers could take for two hosts is refused, registered or given."""
    assert redirect_problem(uri) is not None
    assert not redirect_matches("http://localhost/cb", uri)
    assert not redirect_matches(CALLBACK, uri)


@pytest.mark.parametrize(
    ("registered", "given", "matches"),
    [
        (CALLBACK, CALLBACK, True),
        (CALLBACK, CALLBACK + "/", False),
        (CALLBACK, CALLBACK + "?x=1", False),
        (CALLBACK, "https://claude.ai:443/api/mcp/auth_callback", False),
        (CALLBACK, "https://CLAUDE.ai/api/mcp/auth_callback", False),
        (CALLBACK, "https://claude.ai/api/mcp/auth_callback/../evil", False),
        (CALLBACK, "http://claude.ai/api/mcp/auth_callback", False),
        ("http://localhost/callback", "http://localhost:54321/callback", True),
        ("http://localhost:1/callback", "http://localhost:2/callback", True),
        ("http://localhost:1/callback", "http://localhost/callback", True),
        ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback", True),
        ("http://[::1]/callback", "http://[::1]:54321/callback", True),
        ("http://localhost/callback", "http://127.0.0.1:54321/callback", False),
        ("http://127.0.0.1/callback", "http://localhost:54321/callback", False),
        ("http://localhost/callback", "http://localhost:54321/other", False),
        ("http://localhost/callback", "http://localhost:54321/callback?x=1", False),
        ("http://localhost/callback", "https://localhost:54321/callback", False),
        ("https://localhost:1/callback", "https://localhost:2/callback", False),
        ("http://localhost/callback", "http://localhost:123456/callback", False),
        ("cursor://a/cb", "cursor://b/cb", False),
    ],
)
def test_redirect_matches(registered, given, matches):
    """RFC 9700 §2.1: exact string; RFC 8252 §7.3: the port of a loopback URI may be any."""
    assert redirect_matches(registered, given) is matches


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (CALLBACK, "claude.ai"),
        ("https://APP.example:8443/cb", "app.example:8443"),
        ("http://localhost:33418/cb", "localhost"),
        ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("https://xn--pple-43d.com/cb", "xn--pple-43d.com"),
        ("not a uri", ""),
    ],
)
def test_redirect_host(uri, shown):
    """The consent page shows it; an international name stays in punycode."""
    assert redirect_host(uri) == shown


@given(st.text(max_size=100) | st.from_regex(r"(https?|cursor|javascript|a\.b):/{0,3}[a-z@:\\./%#?\[\]0-9]{0,30}"))
def test_any_redirect_uri_is_judged(uri):
    """Total functions; what is accepted is ASCII, has no fragment or userinfo, and matches itself."""
    if redirect_problem(uri) is None:
        assert uri.isascii()
        assert "#" not in uri
        assert "//" not in uri or "@" not in uri.partition("//")[2].split("/")[0]
        assert redirect_matches(uri, uri)
        assert redirect_host(uri)
    else:
        assert not redirect_matches("http://localhost/cb", uri) or is_loopback(uri)


# --- registration ----------------------------------------------------------------------------------------------------


def test_registration_of_cursor():
    """RFC 7591 §2: several kinds of redirect URI at once; the odd ones are dropped, the good ones remain."""
    registration = read_registration(
        document(
            client_name="Cursor",
            redirect_uris=[
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
                "http://localhost:8787/callback",
                "http://cursor.example/callback",
                "javascript:alert(1)",
                7,
                None,
                "https://www.cursor.com/agents/mcp/oauth/callback",
            ],
        )
    )
    assert registration.redirect_uris == (
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    )


def test_registration_of_vscode():
    """RFC 7591 §2.1, §3.2.1: unknown grant types and fields are filtered, not refused."""
    registration = read_registration(
        document(
            grant_types=["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
            response_types=["code", "token"],
            application_type="native",
            contacts=None,
        )
    )
    assert registration.grant_types == ("authorization_code", "refresh_token")


def test_registration_defaults():
    """RFC 7591 §2: client_secret_basic when omitted; both grant types, and a name of our making."""
    registration = read_registration(msgspec.json.encode({"redirect_uris": [CALLBACK], "client_name": None}))
    assert registration.auth_method == "client_secret_basic"
    assert registration.grant_types == ("authorization_code", "refresh_token")
    assert registration.name == "claude.ai"


@pytest.mark.parametrize(
    ("fields", "error", "slug"),
    [
        ({"redirect_uris": None}, InvalidRedirectUri, "redirect_uris_missing"),
        ({"redirect_uris": []}, InvalidRedirectUri, "redirect_uris_missing"),
        ({"redirect_uris": CALLBACK}, InvalidRedirectUri, "redirect_uris_missing"),
        ({"redirect_uris": ["http://evil.example/cb"]}, InvalidRedirectUri, "redirect_uris_unusable"),
        ({"redirect_uris": [f"{CALLBACK}/{n}" for n in range(33)]}, InvalidRedirectUri, "redirect_uris_too_many"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, InvalidClientMetadata, "auth_method_unsupported"),
        ({"token_endpoint_auth_method": ["none"]}, InvalidClientMetadata, "auth_method_unsupported"),
        ({"token_endpoint_auth_method": ""}, InvalidClientMetadata, "auth_method_unsupported"),
        ({"grant_types": ["client_credentials"]}, InvalidClientMetadata, "grant_types_unusable"),
        ({"grant_types": "authorization_code"}, InvalidClientMetadata, "grant_types_malformed"),
        ({"response_types": ["token"]}, InvalidClientMetadata, "response_types_unusable"),
        ({"client_name": {"en": "x"}}, InvalidClientMetadata, "client_name_malformed"),
        ({"padding": "x" * 70_000}, InvalidClientMetadata, "document_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_registration_is_refused(fields, error, slug):
    """RFC 7591 §3.2.2."""
    with pytest.raises(error) as refused:
        read_registration(document(**fields))
    assert refused.value.slug == slug


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 60_000, b'{"a":"\\ud800x"}'])
def test_registration_document_is_malformed(body):
    """RFC 7591 §3.1: a JSON object; a deeply nested one ends in a refusal, not in an exhausted stack."""
    with pytest.raises(InvalidClientMetadata):
        read_registration(body)


def test_attack_privileged_metadata_in_registration():
    """DCR smuggling: nothing but the known fields reaches the record, and it is neither trusted nor confirmed."""
    smuggled = document(
        client_id="claude",
        client_secret="chosen",
        client_id_issued_at=1,
        trusted=True,
        consent="trusted",
        confirmed_at=1,
        source="configured",
        scope="read write admin",
        grant_types=["authorization_code", "client_credentials"],
        software_statement="eyJhbGciOiJub25lIn0.e30.",
        jwks_uri="http://169.254.169.254/",
    )
    registration = read_registration(smuggled)
    record = registration.record("id1", source=ClientSource.DCR, created_at=5, expires_at=9)
    assert record == read_registration(document()).record("id1", source=ClientSource.DCR, created_at=5, expires_at=9)
    assert (record.trusted, record.confirmed_at, record.secret_digest, record.id) == (False, None, None, "id1")
    assert record.grant_types == ("authorization_code", "refresh_token")


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("https://claude.ai/logo.png", True),
        ("http://claude.ai/logo.png", False),
        ("javascript:alert(1)", False),
        ("data:image/svg+xml,<svg onload=alert(1)>", False),
        ('https://claude.ai/"onerror=alert(1)', False),
        ("//evil.example/logo.png", False),
        (7, False),
        (None, False),
    ],
)
def test_attack_script_uri_in_client_metadata(uri, kept):
    """Links for the consent page are https or not there."""
    registration = read_registration(document(logo_uri=uri, client_uri=uri))
    assert (registration.logo_uri, registration.client_uri) == ((uri, uri) if kept else (None, None))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Claude", "Claude"),
        ("  Visual  Studio\tCode\r\n", "Visual Studio Code"),
        ("Café ☕ 漢字", "Café ☕ 漢字"),
        ("Cl\u200baude\ufeff", "Claude"),
        ("\u202eedualC\u202c", "edualC"),
        ("\u2066Claude\u2069\u200f", "Claude"),
        ("Cur\x00sor\x1b[31m", "Cursor[31m"),
        ("a\u2028b\u2029c", "a b c"),
        ("Claude\u3164\u2800", "Claude"),
        ("Claude\U000e0041", "Claude"),
        ("\u200b\u202e", ""),
        ("x" * 200, "x" * MAX_NAME_CHARACTERS),
    ],
)
def test_attack_bidi_and_invisible_names(name, shown):
    """A name cannot turn around, hide or break the line that it stands in."""
    assert clean_name(name) == shown


def test_attack_html_in_client_name():
    """HTML is kept as the text that it is; the templates escape it."""
    name = "<img src=x onerror=alert(1)>"
    assert read_registration(document(client_name=name)).name == name


def test_invisible_name_falls_back_to_the_host():
    """An empty line on the consent page would let the page speak for us."""
    assert read_registration(document(client_name="\u200b\u202e")).name == "claude.ai"


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({}, {}, True),
        ({"redirect_uris": ["http://localhost:1/cb"]}, {"redirect_uris": ["http://localhost:2/cb"]}, True),
        ({"redirect_uris": ["http://localhost:1/cb"]}, {"redirect_uris": ["http://localhost/cb"]}, True),
        (
            {"redirect_uris": ["http://localhost/a", CALLBACK]},
            {"redirect_uris": [CALLBACK, "http://localhost/a"]},
            True,
        ),
        ({"unknown": 1}, {}, True),
        ({"redirect_uris": ["http://localhost:1/cb"]}, {"redirect_uris": ["http://127.0.0.1:1/cb"]}, False),
        ({"redirect_uris": ["http://localhost:1/cb"]}, {"redirect_uris": ["http://localhost:1/cc"]}, False),
        ({"redirect_uris": ["https://a.example:1/"]}, {"redirect_uris": ["https://a.example:2/"]}, False),
        ({"client_name": "Cursor"}, {}, False),
        ({"logo_uri": "https://a.example/l"}, {}, False),
        ({"client_uri": "https://a.example/l"}, {"logo_uri": "https://a.example/l"}, False),
        ({"grant_types": ["authorization_code", "refresh_token"]}, {}, True),
        ({"token_endpoint_auth_method": "client_secret_post"}, {}, False),
    ],
)
def test_registration_digest(left, right, same):
    """Idempotent over every stored field, so two clients share a record only if nobody could tell them apart."""
    digests = [read_registration(document(**fields)).digest_input() for fields in (left, right)]
    assert (digests[0] == digests[1]) is same


def test_registration_response():
    """RFC 7591 §3.2.1: all registered metadata; a secret comes with its expiry."""
    registration = read_registration(document(logo_uri="https://claude.ai/l", client_uri="https://claude.ai"))
    record = registration.record("id1", source=ClientSource.DCR)
    expected = {
        "client_id": "id1",
        "client_id_issued_at": 1000,
        "client_name": "Claude",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "client_uri": "https://claude.ai",
        "logo_uri": "https://claude.ai/l",
    }
    assert registration_response(record, None, 1000) == expected
    assert registration_response(record, "s3cret", 1000) == expected | {
        "client_secret": "s3cret",
        "client_secret_expires_at": 0,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["redirect_uris", "client_name", "token_endpoint_auth_method", "grant_types", "response_types", "logo_uri"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_registration_is_read_or_refused(fields):
    """No document raises anything but the two errors of RFC 7591 §3.2.2, and no name is empty."""
    try:
        registration = read_registration(document(**fields))
    except (InvalidClientMetadata, InvalidRedirectUri):
        return
    assert registration.name
    assert all(redirect_problem(uri) is None for uri in registration.redirect_uris)
