"""CORS of gated routes: true preflights are answered here and never forwarded; `Origin` is validated against the route.

MCP asks servers to validate `Origin` (DNS rebinding, streamable HTTP transport). Native clients send none.
"""

import re

from vestibule.errors import Forbidden
from vestibule.gate.headers import RawHeaders, get_all
from vestibule.oauth.cors import ALLOWED_HEADERS, EXPOSED_HEADERS, MAX_AGE_SECONDS

_ALLOWED_HEADERS = ", ".join(ALLOWED_HEADERS).encode()
_EXPOSED_HEADERS = ", ".join(EXPOSED_HEADERS).encode()
_MCP_PARAM = re.compile(rb"mcp-param-[a-z0-9][a-z0-9-]{0,68}")
_ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


def is_preflight(method: str, headers: RawHeaders) -> bool:
    """Fetch §3.2.2: OPTIONS with an Origin and a requested method; any other OPTIONS is an ordinary request."""
    names = {name for name, _ in headers}
    return method == "OPTIONS" and b"origin" in names and b"access-control-request-method" in names


def allowed_origin(headers: RawHeaders, origins: tuple[str, ...], issuer: str) -> bytes | None:
    """The origin of this request, None if it sent none. Raises Forbidden for one that the route does not name."""
    sent = get_all(headers, b"origin")
    if not sent:
        return None
    origin = sent[0].decode("latin-1")
    if len(sent) == 1 and (origin == issuer or origin in origins):
        return sent[0]
    raise Forbidden("origin_not_allowed", f"Origin {origin[:100]!r} is not in the route's origins")


def preflight(headers: RawHeaders, origins: tuple[str, ...], issuer: str) -> list[tuple[bytes, bytes]]:
    """Headers of the answer to a preflight; `Mcp-Param-*` names are allowed one by one. Raises Forbidden."""
    origin = allowed_origin(headers, origins, issuer) or b""
    asked = b",".join(get_all(headers, b"access-control-request-headers")).lower().split(b",")
    params = [name.strip() for name in asked if _MCP_PARAM.fullmatch(name.strip())]
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", _ALLOWED_METHODS),
        (b"access-control-allow-headers", b", ".join((_ALLOWED_HEADERS, *params))),
        (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
        (b"vary", b"Origin"),
    ]


def response_headers(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
        (b"vary", b"Origin"),
    ]
