"""What clients discover: the two metadata documents and the challenge that leads to them.

Only what is implemented is listed: clients choose from these lists and fail later, and worse, on an empty promise.
"""

import re
from collections.abc import Sequence
from typing import Any

from vestibule.oauth.resources import Resource

_QUOTABLE = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*")
_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")


def authorization_server(issuer: str, *, dcr: bool, cimd: bool, scopes: Sequence[str]) -> dict[str, Any]:
    """RFC 8414 §2. `issuer` appears byte for byte as configured: strict clients compare it (§3.3)."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "scopes_supported": list(scopes),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": list(_AUTH_METHODS),
        "revocation_endpoint_auth_methods_supported": list(_AUTH_METHODS),
        "code_challenge_methods_supported": ["S256"],  # RFC 7636; MCP clients refuse a server without it
        "authorization_response_iss_parameter_supported": True,  # RFC 9207 §3
        "client_id_metadata_document_supported": cimd,
    }
    if dcr:
        document["registration_endpoint"] = f"{issuer}/oauth/register"  # RFC 7591 §3
    return document


def protected_resource(resource: Resource, issuer: str, title: str) -> dict[str, Any]:
    """RFC 9728 §2. `resource` equals the URL that the user typed, never a parent of it (§3.3).

    `scopes_supported` is the least that is useful, because clients ask for all that they find there.
    """
    return {
        "resource": resource.url,
        "authorization_servers": [issuer],
        "scopes_supported": list(resource.defaults),
        "bearer_methods_supported": ["header"],
        "resource_name": title,
    }


def challenge(resource_metadata_url: str, *, scope: tuple[str, ...], error: str | None, description: str | None) -> str:
    """The value of WWW-Authenticate (RFC 6750 §3, RFC 9728 §5.1).

    Without an `error` there is no description either (RFC 6750 §3.1). No value is quoted that could end its quotes.
    """
    parts = {
        "error": error,
        "error_description": description if error is not None else None,
        "scope": " ".join(scope) or None,
        "resource_metadata": resource_metadata_url,
    }
    return "Bearer " + ", ".join(f'{name}="{_quotable(value)}"' for name, value in parts.items() if value is not None)


def _quotable(value: str) -> str:
    """RFC 6750 §3: no quote, backslash, control or non-ASCII character. None can come from configuration or from our
    own texts, so one that does is an attack or a bug, and either ends here rather than in a header.
    """
    if not _QUOTABLE.fullmatch(value):
        raise ValueError("a challenge holds a character that a header must not")
    return value
