"""Routes match whole segments of the raw path, and a path that two parsers could read differently is refused.

Chosen against matching a decoded or normalised path: what is authorised must be byte for byte what is forwarded, and
the backend decodes for itself. So nothing is repaired here. `ambiguity` refuses every path whose decoded segments could
differ from its raw ones; what is left means the same to every reader, and comparing raw bytes is then enough.
Characters that a route path may contain are all unreserved (RFC 3986 §2.3), and their percent-encoded forms are
refused, so `/%61pi` cannot slip past a nested route `/api` into its parent.
"""

import re
from collections.abc import Iterable
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

T = TypeVar("T")

RESERVED = ("/oauth", "/.well-known", "/health", "/account", "/auth")
"""Our own paths come before all routes; each is one segment, which `is_reserved` relies on."""

_RESERVED_SEGMENTS = frozenset(path.encode() for path in RESERVED)

_PLAIN = re.compile(rb"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9\-._~!$&'()*+,=:@\[\]|]+)++/?|/")
"""The fast path: RFC 3986 §3.3 pchar without escapes and `;`, plus `[`, `]` and `|`, which browsers send unescaped."""

_AMBIGUOUS = tuple(
    (re.compile(pattern), slug)
    for pattern, slug in (
        (rb"\A(?!/)", "path_not_absolute"),
        (rb"[^\x00-\x7f]", "path_not_ascii"),
        (rb"[\x00-\x1f\x7f]|%(?:[01][0-9A-Fa-f]|7[Ff])", "path_control_character"),
        (rb"\\|%5[Cc]", "path_backslash"),
        (rb"%2[Ff]", "path_encoded_slash"),
        (rb"%(?![0-9A-Fa-f]{2})", "path_invalid_escape"),
        (rb"%25[0-9A-Fa-f]{2}", "path_double_encoding"),
        (rb";|%3[Bb]", "path_parameter"),
        (rb"//", "path_empty_segment"),
        (rb"/(?:\.|%2[Ee]){1,2}(?:/|\Z)", "path_dot_segment"),
        (rb"%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])", "path_encoded_unreserved"),
        (rb"[ \"#<>?^`{}]", "path_invalid_character"),
    )
)


def ambiguity(raw_path: bytes) -> str | None:
    """Why two readers could disagree about this raw path, or None (RFC 3986 §6.2.2, §7.3; CVE-2026-32871, -33494)."""
    if _PLAIN.fullmatch(raw_path):
        return None
    for pattern, slug in _AMBIGUOUS:
        if pattern.search(raw_path):
            return slug
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return "path_not_utf8"  # overlong forms such as %c0%ae, which lax decoders read as "."
    return None


def is_reserved(raw_path: bytes) -> bool:
    """Whether the path is one of ours or below one, by whole segments: `/oauthx` is not."""
    end = raw_path.find(b"/", 1)
    return (raw_path if end < 0 else raw_path[:end]) in _RESERVED_SEGMENTS


def shadows_reserved(path: str) -> str | None:
    """The reserved path that a configured route equals, lies below or lies above; `/` may be a route, it comes last."""
    mine = path.rstrip("/") + "/"
    if mine == "/":
        return None
    for reserved in RESERVED:
        theirs = reserved + "/"
        if mine.startswith(theirs) or theirs.startswith(mine):
            return reserved
    return None


class RouteTable(Generic[T]):
    """Longest match by whole segments; of nested routes the longest alone decides (design decision 10)."""

    def __init__(self, routes: Iterable[tuple[str, T]]) -> None:
        table: dict[bytes, T] = {}
        for path, value in routes:
            slug = ambiguity(path.encode())
            if slug is not None or "%" in path:
                raise ValueError(f"route path {path!r} is ambiguous ({slug or 'percent escape'})")
            prefix = path.encode().removesuffix(b"/")
            if prefix in table:
                raise ValueError(f"two routes have the path {path!r}")
            table[prefix] = value
        self._table = table
        self._longest = max(map(len, table), default=0)

    def match(self, raw_path: bytes) -> tuple[T, bytes] | None:
        """The route's value and what follows its path (`b""` or `b"/..."`), or None.

        Starts no further right than the longest route ends, so a long hostile path costs no more than a short one.
        """
        if not raw_path.startswith(b"/"):
            return None
        table = self._table
        end = len(raw_path)
        if end > self._longest:
            end = raw_path.rfind(b"/", 0, self._longest + 1)
        while end >= 0:
            prefix = raw_path[:end]
            if prefix in table:
                return table[prefix], raw_path[end:]
            end = raw_path.rfind(b"/", 0, end)
        return None
