"""Discovery documents and challenges."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.oauth.metadata import authorization_server, challenge, protected_resource
from vestibule.oauth.resources import Resource

ISSUER = "https://gate.example"
METADATA = "https://gate.example/.well-known/oauth-protected-resource/mcp"


def test_authorization_server():
    """RFC 8414 §2, RFC 9207 §3, MCP authorization: only what is implemented is listed."""
    assert authorization_server(ISSUER, dcr=True, cimd=True, scopes=("read", "write")) == {
        "issuer": "https://gate.example",
        "authorization_endpoint": "https://gate.example/oauth/authorize",
        "token_endpoint": "https://gate.example/oauth/token",
        "registration_endpoint": "https://gate.example/oauth/register",
        "revocation_endpoint": "https://gate.example/oauth/revoke",
        "jwks_uri": "https://gate.example/.well-known/jwks.json",
        "scopes_supported": ["read", "write"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
    }


def test_registration_is_announced_only_where_it_is_on():
    """RFC 7591 §3: a client that finds the endpoint uses it."""
    document = authorization_server(ISSUER, dcr=False, cimd=False, scopes=())
    assert "registration_endpoint" not in document
    assert document["client_id_metadata_document_supported"] is False


def test_protected_resource():
    """RFC 9728 §2: the resource as typed, and the least scopes that are useful."""
    resource = Resource(route="issues", url=f"{ISSUER}/mcp", permissions=("read", "write"), defaults=("read",))
    assert protected_resource(resource, ISSUER, "Issues") == {
        "resource": "https://gate.example/mcp",
        "authorization_servers": ["https://gate.example"],
        "scopes_supported": ["read"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Issues",
    }


@pytest.mark.parametrize(
    ("scope", "error", "description", "expected"),
    [
        (("read",), None, None, f'Bearer scope="read", resource_metadata="{METADATA}"'),
        ((), None, None, f'Bearer resource_metadata="{METADATA}"'),
        ((), None, "unused", f'Bearer resource_metadata="{METADATA}"'),
        (
            (),
            "invalid_token",
            "The key expired.",
            f'Bearer error="invalid_token", error_description="The key expired.", resource_metadata="{METADATA}"',
        ),
        (
            ("read", "write"),
            "insufficient_scope",
            None,
            f'Bearer error="insufficient_scope", scope="read write", resource_metadata="{METADATA}"',
        ),
    ],
)
def test_challenge(scope, error, description, expected):
    """RFC 6750 §3, §3.1 (no credentials, no error code), RFC 9728 §5.1; all scopes in one challenge."""
    assert challenge(METADATA, scope=scope, error=error, description=description) == expected


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\r\nSet-Cookie: x=1", "a\nb", "a\x00b", "é", "a\x7fb"])
@pytest.mark.parametrize("place", ["url", "scope", "error", "description"])
def test_attack_header_injection_in_www_authenticate(value, place):
    """RFC 6750 §3: a value that could leave its quotes or its line never becomes a header."""
    given_values = {"url": METADATA, "scope": "read", "error": "invalid_token", "description": "d"} | {place: value}
    with pytest.raises(ValueError, match="challenge"):
        challenge(
            given_values["url"],
            scope=(given_values["scope"],),
            error=given_values["error"],
            description=given_values["description"],
        )


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_challenge_is_one_line_of_quoted_strings(scope, description):
    """Whatever goes in, what comes out parses as RFC 6750 §3 has it."""
    try:
        value = challenge(METADATA, scope=(scope,), error="invalid_token", description=description)
    except ValueError:
        return
    assert re.fullmatch(r'Bearer (?:[a-z_]+="[\x20\x21\x23-\x5b\x5d-\x7e]*"(?:, )?)+', value)
