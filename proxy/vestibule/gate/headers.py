"""Which headers cross the gate. Pure functions over raw header lists: order, case and duplicates stay as they were.

A backend folds `-`, `_` and `.` in names differently from us (CGI variables, PHP), so names are compared folded: an
alias of an identity header is as bad as the header itself (CVE-2025-64484).
"""

from collections.abc import Iterable, Sequence

RawHeaders = Sequence[tuple[bytes, bytes]]

OUR_COOKIES = (b"__Host-vestibule", b"vestibule")
"""Prefixes of the cookies of our pages; the second is for http loopback."""

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""RFC 9110 §7.6.1, and what h2c upgrades use (RFC 7540 §3.2.1)."""
_NEVER_FORWARDED = frozenset(
    {
        b"host",
        b"authorization",
        b"cookie",
        b"expect",
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        # asks a framework to treat the request as another one than was judged
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-url",
        b"x-original-uri",
        b"x-original-method",
        b"x-rewrite-url",
    }
)
_NEVER_ANSWERED = frozenset({b"service-worker-allowed", b"clear-site-data"})
"""Would reach from a backend's page over to ours, which share an origin (design decision 5)."""
_CORS = b"access-control-"


def folded(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-").replace(b".", b"-")


def get_all(headers: RawHeaders, name: bytes) -> list[bytes]:
    """Values of a header; `name` in lower case, as ASGI delivers it."""
    return [value for key, value in headers if key == name]


def connection_named(headers: RawHeaders) -> frozenset[bytes]:
    """What `Connection` declares hop-by-hop (RFC 9110 §7.6.1); removed before identity is set (CVE-2025-48865)."""
    return frozenset(
        token.strip().lower()
        for value in get_all(headers, b"connection")
        for token in value.split(b",")
        if token.strip()
    )


def to_backend(
    headers: RawHeaders, *, identity: frozenset[bytes], added: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """The request's headers for the backend; `identity` holds the folded names that only we may set."""
    named = connection_named(headers)
    kept = []
    for name, value in headers:
        if name in _HOP_BY_HOP or name in named:
            continue
        alias = folded(name)
        if alias in _NEVER_FORWARDED or alias in identity or alias.startswith(b"x-forwarded-"):
            if name == b"cookie":
                others = without_our_cookies(value)
                if others:
                    kept.append((name, others))
            continue
        kept.append((name, value))
    kept.extend(added)
    return kept


def to_client(headers: RawHeaders, *, sandbox_html: bool, cors: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The backend's headers for the client. `cors` replaces the backend's own when the route decides about origins."""
    named = connection_named([(name.lower(), value) for name, value in headers])
    kept = []
    html = False
    for raw_name, value in headers:
        name = raw_name.lower()
        if name in _HOP_BY_HOP or name in named or name in _NEVER_ANSWERED:
            continue
        if cors and name.startswith(_CORS):
            continue
        if name == b"set-cookie" and value.lstrip().startswith(OUR_COOKIES):
            continue
        if name == b"content-type":
            html = html or _renders(value)
        kept.append((raw_name, value))
    if html and sandbox_html:
        kept = [(name, value) for name, value in kept if name.lower() != b"content-security-policy"]
        kept.append((b"content-security-policy", b"sandbox"))
    kept.extend(cors)
    return kept


def without_our_cookies(value: bytes) -> bytes:
    pairs = [pair.strip() for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if pair and not pair.startswith(OUR_COOKIES))


def _renders(content_type: bytes) -> bool:
    """Types that a browser renders as a document with scripts."""
    kind = content_type.partition(b";")[0].strip().lower()
    return kind in {b"text/html", b"application/xhtml+xml", b"image/svg+xml", b"text/xml", b"application/xml"}
