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
        b"proxy",  # a CGI makes HTTP_PROXY of it (CVE-2016-5385)
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
_DOCUMENTS = frozenset(
    {
        b"text/html",
        b"text/xsl",
        b"multipart/x-mixed-replace",
        b"unknown/unknown",
        b"application/unknown",
        b"*/*",
    }
)
"""Besides XML. The last three are sniffed."""


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
        alias = folded(name)
        if alias in _HOP_BY_HOP or name in named or (alias == b"content-length" and name != alias):
            continue
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
    lowered = [(name.lower(), value) for name, value in headers]
    named = connection_named(lowered)
    types = get_all(lowered, b"content-type")
    chunked = bool(get_all(lowered, b"transfer-encoding"))
    kept = []
    for (name, value), (raw_name, _) in zip(lowered, headers, strict=True):
        if name in _HOP_BY_HOP or name in named or name in _NEVER_ANSWERED:
            continue
        if chunked and name == b"content-length":
            continue  # overridden, and wrong as often as not (RFC 9112 §6.3)
        if cors and name.startswith(_CORS):
            continue
        if name == b"set-cookie" and value.lstrip(b" \t=").startswith(OUR_COOKIES):
            continue  # a nameless cookie `=a=b` comes back as `a=b` (RFC 6265bis §5.8.3)
        kept.append((raw_name, value))
    if sandbox_html and (not types or any(map(_renders, types))):
        kept = [(name, value) for name, value in kept if name.lower() != b"content-security-policy"]
        kept.append((b"content-security-policy", b"sandbox"))
    kept.extend(cors)
    return kept


def without_our_cookies(value: bytes) -> bytes:
    pairs = [pair.strip() for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if pair and not pair.startswith(OUR_COOKIES))


def _renders(content_type: bytes) -> bool:
    """Whether a browser may make a document with scripts of it: HTML, any XML, and what it sniffs (MIME Sniffing §7).
    Of several types in one header browsers take the last that they understand, so any one counts.
    """
    kinds = [part.partition(b";")[0].strip().lower() for part in content_type.split(b",")]
    return any(kind in _DOCUMENTS or kind.endswith((b"/xml", b"+xml")) or b"/" not in kind for kind in kinds)
