"""The pages that people see: a view model in, status, bytes and headers out. No request, no clock, no I/O.

Decisions
- No JavaScript and nothing loaded from anywhere: a page that asks for trust must work, and look the same, under the
  strictest policy a browser has. The one stylesheet is inlined and allowed by its SHA-256 (CSP Level 3, §2.3.1); inline
  `style` attributes stay forbidden.
- No `form-action`: browsers apply it to the whole redirect chain that follows a submit, so it would break every
  `cursor://` or `http://127.0.0.1` redirect URI. The form posts to a path of our own, and nothing can inject another.
- What strangers chose (client names, redirect URIs) is defused here, at the last step, whoever checked it before:
  autoescape, bidirectional isolation, no invisible characters, bounded names, addresses in printable ASCII.
"""

import re
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Literal
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

LONGEST_NAME = 80
"""A longer name is cut: otherwise it pushes the redirect URI and the permissions out of sight."""
JOINERS = "\u200c\u200d"
"""Invisible, and still part of ordinary Persian, Hindi and emoji."""
ASCII = "".join(map(chr, range(0x21, 0x7F)))
NOT_LINKED = frozenset({"javascript", "vbscript", "data", "blob", "file", "filesystem", "about", "view-source"})
"""Schemes that run or show something inside this browser instead of returning to a client."""


class ProviderChoice(Struct, frozen=True, kw_only=True):
    id: str
    title: str


class PermissionChoice(Struct, frozen=True, kw_only=True):
    id: str
    title: str
    description: str = ""
    ticked: bool = False
    provider_scopes: Sequence[tuple[str, str]] = ()
    """(provider title, scope): what the provider will be asked for because of this permission."""


class ConsentPage(Struct, frozen=True, kw_only=True):
    """Who asks, for what, and where the answer goes (design decision 3; RFC 6749 §10.2, §10.13)."""

    client_name: str
    client_domain: str | None
    """Domain of a client ID metadata document, where it really vouches for the redirect; None elsewhere."""
    client_source: Literal["configured", "cimd", "dcr"]
    redirect_uri: str
    redirect_host: str
    loopback: bool
    """RFC 8252 §8.3: any program of this computer may listen there, so the name proves nothing."""
    resource_url: str
    resource_title: str
    permissions: Sequence[PermissionChoice]
    providers: Sequence[ProviderChoice]
    action: str
    request: str
    """The signed request before consent: a form field, so that showing the page leaves nothing behind."""
    notice: str = ""
    """What to change before the answer can be taken; the page is shown again with it, and nothing is lost."""


class ErrorPage(Struct, frozen=True, kw_only=True):
    """What happened and what to do next; the trace id is the only technical thing a person is shown."""

    status: int
    title: str
    description: str
    advice: str
    trace_id: str
    return_url: str | None = None
    """Back to the client with the OAuth error (RFC 6749 §4.1.2.1): a link, never an automatic redirect."""
    return_label: str | None = None


class DevUser(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    email: str
    note: str = ""


class DevSignInPage(Struct, frozen=True, kw_only=True):
    """The built-in development provider: whoever opens the page picks whom to be."""

    users: Sequence[DevUser]
    action: str
    hidden: dict[str, str]
    client_name: str | None = None
    """Who asks for the sign-in, if known."""
    scopes: Sequence[str] = ()


class Page(Struct, frozen=True, kw_only=True):
    status: int
    html: bytes
    headers: tuple[tuple[str, str], ...]


def render(page: ConsentPage | ErrorPage | DevSignInPage) -> Page:
    """A page ready to be sent; its headers are complete and replace nothing that the caller must add."""
    html = _environment.get_template(_TEMPLATES[type(page)]).render(page=page)
    status = page.status if isinstance(page, ErrorPage) else 200
    return Page(status=status, html=html.encode(), headers=HEADERS)


def shown(text: str) -> str:
    """A name as one line without invisible characters.

    Controls, bidirectional overrides, zero-width and tag characters can make a name read as another one; categories
    Cc, Cf, Co, Cs and Cn of Unicode hold them all.
    """
    line = " ".join(text.split())
    line = "".join(c for c in line if c in JOINERS or not unicodedata.category(c).startswith("C"))
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1].rstrip() + "…"


def address(uri: str) -> str:
    """A URI or host in printable ASCII and never cut: look-alike letters and invisible characters turn into %XX."""
    return quote(uri, safe=ASCII, errors="replace")


def linked(uri: str | None) -> str | None:
    """The URI if a link may carry it. What a browser would read as another scheme than we do is no link either."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", uri or "")
    return uri if scheme and scheme[1].lower() not in NOT_LINKED else None


def initial(name: str) -> str:
    """The letter on a client's tile; empty for a name without letters or digits."""
    return next((c.upper()[:1] for c in shown(name) if c.isalnum()), "")


_STYLE = files("vestibule.web").joinpath("templates/style.css").read_text(encoding="utf-8")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_TEMPLATES: dict[type[Struct], str] = {
    ConsentPage: "consent.html",
    ErrorPage: "error.html",
    DevSignInPage: "dev_signin.html",
}

_environment = Environment(
    loader=PackageLoader("vestibule.web", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(shown=shown, address=address, linked=linked, initial=initial)
_environment.globals["style"] = Markup(_STYLE)  # noqa: S704  # our own file; escaping would change it and its hash

HEADERS = (
    ("content-type", "text/html; charset=utf-8"),
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("x-robots-tag", "noindex"),
)
"""Of every page. Consent must not be framed (RFC 6749 §10.13), cached, or leak its address (RFC 9700 §4.2.4)."""
