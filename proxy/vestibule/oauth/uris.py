"""One strict reader for every URI that a client chooses: redirect URIs, resources, metadata documents, links.

`urllib.parse` is made to read whatever it is given and disagrees with browsers about backslashes, tabs, missing slashes
and userinfo; each disagreement is an open redirect. Here a URI is either plainly what RFC 3986 describes, with nothing
in it that two readers could take differently, or it is refused.
"""

import re

from msgspec import Struct

MAX_CHARACTERS = 2048

_FORBIDDEN = (
    (re.compile(r"[\x00-\x20\x7f]"), "control_or_space"),  # browsers drop tab and newline: `java\nscript:`
    (re.compile(r"\\"), "backslash"),  # browsers read it as a slash: `https://good\@evil`
    (re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]"), "character"),  # RFC 3986 §2: anything else is encoded
    (re.compile(r"%(?![0-9A-Fa-f]{2})"), "percent"),
    (re.compile(r"#"), "fragment"),  # RFC 6749 §3.1.2, RFC 8707 §2
)
_SHAPE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<authority>[^/?]*))?(?P<path>[^?]*)(?P<query>\?.*)?")
_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_MAX_PORT = 65535


class UriProblem(ValueError):
    """Why a URI is refused, as a slug."""

    def __init__(self, slug: str) -> None:
        super().__init__(slug)
        self.slug = slug


class Uri(Struct, frozen=True, kw_only=True):
    scheme: str
    """Lower-case."""
    host: str
    """Lower-case ASCII (an international name is in its `xn--` form); empty without an authority."""
    port: int | None
    path: str
    query: str | None
    """None without a `?`."""


def parse_uri(text: str) -> Uri:
    """RFC 3986 without fragment, userinfo and dot segments. Raises UriProblem and nothing else."""
    if len(text) > MAX_CHARACTERS:
        raise UriProblem("too_long")
    for pattern, slug in _FORBIDDEN:
        if pattern.search(text):
            raise UriProblem(slug)
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise UriProblem("not_absolute")  # also `//evil.example`, which a browser completes with our own scheme
    text_authority = shape["authority"] or ""
    if "@" in text_authority:
        raise UriProblem("userinfo")  # RFC 3986 §7.6: `https://good.example@evil.example`
    authority = _AUTHORITY.fullmatch(text_authority)
    if authority is None:
        raise UriProblem("host")
    port = int(authority["port"]) if authority["port"] else None
    if port is not None and not 0 < port <= _MAX_PORT:
        raise UriProblem("port")
    if any(_DOTS.fullmatch(segment) for segment in shape["path"].split("/")):
        raise UriProblem("dot_segment")  # RFC 3986 §5.2.4: what is matched would not be what is requested
    return Uri(
        scheme=shape["scheme"].lower(),
        host=authority["host"].lower(),
        port=port,
        path=shape["path"],
        query=shape["query"][1:] if shape["query"] else None,
    )
