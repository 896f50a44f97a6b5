"""Where a provider call may go. Every URL passes `endpoint_problem` just before it becomes a call, whether it was
written in a definition, put together from parameters or discovered: one place that no path avoids.
"""

import ipaddress
import re
from urllib.parse import quote, urlencode, urljoin, urlsplit

_URL_TEXT = re.compile(r"[!-~]+")
"""RFC 3986 §2: visible ASCII. Spaces and control characters are how headers and request lines are split."""
ORIGIN = re.compile(r"https?://[^/?#]+[/?#]")
"""A whole one: more text could not become part of it."""
_DOTS = re.compile(r"(?i)/(?:\.|%2e){1,2}(?:/|$)")
"""RFC 3986 §5.2.4: such a segment leads elsewhere, and whose value it was had no right to."""
_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s;,=]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s;,\"]*))?)*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]*))", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """RFC 8252 §7.3 and §8.3: the only hosts that plain http may reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def endpoint_problem(url: str) -> str | None:
    """Why this URL must not be called; None when it may (RFC 6749 §3.1 and §3.2: TLS, no fragment)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    for broken, problem in (
        (not _URL_TEXT.fullmatch(url), "holds spaces, control or non-ASCII characters"),
        ("\\" in url, "holds a backslash"),
        (parts.scheme not in {"http", "https"} or not host, "is not an absolute http(s) URL"),
        ("@" in parts.netloc, "holds user information"),
        ("#" in url, "holds a fragment"),
        (parts.scheme == "http" and not is_loopback(host or ""), "must be https, except on loopback"),
        (_DOTS.search(parts.path) is not None, "holds a segment of dots"),
    ):
        if broken:
            return problem
    return None


def origin(url: str) -> tuple[str, str | None, int | None]:
    """RFC 6454 §4, with the default port written out."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def with_query(url: str, query: dict[str, str], raw: str = "") -> str:
    """RFC 6749 §3.1: an endpoint's own query is kept. Spaces become %20, which every decoder reads; `+` not.

    `raw` is written as it is.
    """
    parts = [part for part in (urlencode(query, quote_via=quote, safe=""), raw) if part]
    if not parts:
        return url
    return url + ("" if url.endswith("?") else "&" if "?" in url else "?") + "&".join(parts)


def next_page(url: str, link: str | None) -> str | None:
    """The target of `rel="next"` in a Link header (RFC 8288 §3), resolved against the page it came with."""
    for target, parameters in _LINK.findall(link or ""):
        if any("next" in (quoted or bare).lower().split() for quoted, bare in _REL.findall(parameters)):
            return urljoin(url, str(target))
    return None
