"""What must hold between the parts of a config, beyond the shape of each.

Every rule is a function over a `View` and asks it only for what was read well, so the rules run on a config with errors
too: a person sees a misspelt provider and a malformed duration in one go. What other floors know (patterns, paths,
redirect URIs) is asked there, so that `check` accepts exactly what the gateway accepts.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import UNSET

from vestibule.config import AllowRule, Authorization, Config, PermissionConfig
from vestibule.conversion import Converted
from vestibule.documents import Document, Place, Problem
from vestibule.model import Secret
from vestibule.oauth.clients import redirect_problem
from vestibule.policy.permissions import compile_permissions
from vestibule.policy.routes import ambiguity, shadows_reserved
from vestibule.policy.rules import compile_rules

T = TypeVar("T")


class View:
    """A config, whole or with holes."""

    def __init__(self, document: Document, converted: Converted[Config]) -> None:
        self._document, self._converted = document, converted
        self.problems: list[Problem] = []

    def get(self, kind: type[T], *place: str | int) -> T | None:
        """What was read at a place; None for a hole."""
        value = self._converted.parts.get(place)
        return value if isinstance(value, kind) else None

    def lacks(self, *place: str | int) -> bool:
        """Whether it was left out, or is null: not so for a hole."""
        return self._converted.parts.get(place, self) is None

    def each(self, *place: str | int) -> list[Place]:
        """The places of the entries that a list or section has in the file, holes included."""
        value = self._document.value
        for key in place:
            value = _entry(value, key)
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        return [(*place, key) for key in keys]

    def report(self, place: Place, expected: str, *, found: str | None = None, hint: str = "") -> None:
        """Shows only values that are known to be harmless."""
        public = self._converted.public
        problem = self._document.problem(
            place, expected=expected, found=found, hint=hint, private=place not in public, public=public
        )
        self.problems.append(problem)

    def shows(self, place: Place) -> bool:
        return place in self._converted.public


def _entry(value: Any, key: str | int) -> Any:
    if isinstance(key, int):
        return value[key] if isinstance(value, list) and key < len(value) else None
    return value.get(key) if isinstance(value, dict) else None


def check(document: Document, converted: Converted[Config]) -> list[Problem]:
    view = View(document, converted)
    for rule in RULES:
        rule(view)
    return view.problems


def is_loopback(url: str) -> bool:
    """Whether a URL can only mean this very machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- the gateway itself -----------------------------------------------------------------------------------------------


def _public_url(view: View) -> None:
    """RFC 9207 §2.4 and RFC 8414 §3.3: clients compare the issuer as a string, after some of them normalised it."""
    place = ("public_url",)
    url = view.get(str, *place)
    if url is None:
        return
    if not (canonical := _canonical(url)):
        view.report(place, "a URL with a host and, at most, a port")
    elif url != canonical:
        hint = f"write {canonical}" if view.shows(place) else "some clients compare it with the normalised form"
        view.report(place, "lower case and no default port", hint=hint)
    elif not url.startswith("https://") and not is_loopback(url):
        view.report(place, "https, unless the host is loopback", hint="put a TLS proxy in front and name its address")


def _canonical(url: str) -> str | None:
    """An origin in its normal form (RFC 3986 §6.2.2, §6.2.3); None if it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            host = f"[{ipaddress.IPv6Address(host)}]"
        elif not re.fullmatch(r"[a-z0-9._-]+", host, re.ASCII) or parts.netloc.endswith(":"):
            return None
    except ValueError:
        return None
    default = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if port in (None, default) else f":{port}")


def _storage(view: View) -> None:
    url = view.get(str, "storage")
    if url is not None and not re.fullmatch(r"sqlite:///[^?#]+", url):
        hint = "PostgreSQL is not supported yet" if url.startswith("postgres") else ""
        view.report(("storage",), "sqlite:///<file>, such as sqlite:///vestibule.db", hint=hint)


_SECRET = re.compile(r"[A-Za-z0-9+/=_-]{43,}")
_MIN_DISTINCT = 10
"""32 random bytes practically always have more different characters than this, in base64url and in hex alike."""


def _secrets(view: View) -> None:
    """Design decision 20: no weak secrets; 32 bytes are 43 characters of base64url."""
    for purpose in ("signing", "sealing"):
        for place in view.each("secrets", purpose):
            secret = view.get(Secret, *place)
            if secret is None:
                continue
            text = secret.reveal()
            if not _SECRET.fullmatch(text) or len(set(text)) < _MIN_DISTINCT:
                hint = "`vestibule secrets` makes good ones"
                view.report(place, "32 random bytes as base64url or hex text", found="a weak secret", hint=hint)


def _trusted_proxies(view: View) -> None:
    for place in view.each("trusted_proxies"):
        text = view.get(str, *place)
        try:
            ipaddress.ip_network(text or "::1")
        except ValueError:
            view.report(place, "an address or a network such as 10.0.0.0/8")


# --- providers --------------------------------------------------------------------------------------------------------


def _provider_clients(view: View) -> None:
    for place in view.each("providers"):
        if view.get(str, *place, "client", "id") == "":
            view.report((*place, "client", "id"), "the client id that the provider gave you")


def _known_provider(view: View, place: Place, name: str, known: Iterable[str], of: str) -> None:
    known = list(known)
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    expected = f"{of}: {', '.join(known) or 'there are none'}"
    view.report(place, expected, hint=f"did you mean {close[0]}?" if close else "")


def _route_providers(view: View, route: Place) -> list[str]:
    names = (view.get(str, *place) for place in view.each(*route, "providers"))
    return [name for name in names if name is not None]


def _providers_of_routes(view: View) -> None:
    configured = [str(place[-1]) for place in view.each("providers")]
    for route in view.each("routes"):
        seen: set[str] = set()
        for place in view.each(*route, "providers"):
            if (name := view.get(str, *place)) is None:
                continue
            if name in seen:
                view.report(place, "each provider once")
            seen.add(name)
            _known_provider(view, place, name, configured, "a provider configured under `providers`")


# --- routes -----------------------------------------------------------------------------------------------------------


def _unique(view: View, section: str, key: str, normalise: Callable[[str], str] = str) -> None:
    first: dict[str, Place] = {}
    for entry in view.each(section):
        place = (*entry, key)
        value = view.get(str, *place)
        if value is None:
            continue
        if (other := first.setdefault(normalise(value), entry)) != entry:
            view.report(place, f"a {key} of its own", hint=f"{section}[{other[-1]}] has the same")


def _paths(view: View) -> None:
    """Design decision 10: reserved paths come first, so a route there would never, or not always, be asked."""
    for route in view.each("routes"):
        place = (*route, "path")
        path = view.get(str, *place)
        if path is None:
            continue
        if ambiguity(path.encode()):
            view.report(place, "a path without empty and dot segments")
        elif reserved := shadows_reserved(path):
            view.report(place, f"a path that does not overlap {reserved}", hint=f"{reserved} is the gateway's own")


def _backends(view: View) -> None:
    for route in view.each("routes"):
        place = (*route, "backend")
        url = view.get(str, *place)
        if url is None:
            continue
        if "@" in (netloc := url.split("/")[2]):
            hint = "a header for the backend goes to send.authorization.static"
            view.report(place, "a URL without user and password", found="a URL with credentials (not shown)", hint=hint)
        elif _canonical(f"http://{netloc}") is None:
            view.report(place, "a URL with a host and, at most, a port")


def _origins(view: View) -> None:
    """RFC 6454 §6.2: browsers send origins in exactly this form, so any other never matches."""
    for route in view.each("routes"):
        for place in view.each(*route, "origins"):
            origin = view.get(str, *place)
            if origin is not None and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#@*A-Z]+", origin):
                view.report(place, "an origin such as https://app.example.com, without a path")


def _allow(view: View) -> None:
    """Design decision 8: nobody is let in by forgetting something."""
    for route in view.each("routes"):
        place = (*route, "allow")
        entries = view.get(object, *place)
        if entries is UNSET or entries == ():
            hint = "write `allow: [{email_domain: example.com}]`, or `allow: anyone` to admit everybody who signs in"
            view.report(place, "who may enter", hint=hint)
        providers = _route_providers(view, route)
        for entry in view.each(*place):
            if rule := view.get(AllowRule, *entry):
                _allow_entry(view, entry, rule, providers)


_CONDITIONS = {
    "email": "one e-mail address",
    "email_domain": "a domain name such as example.com",
    "group": "<provider>:<group>, such as github:acme/platform",
    "subject": "<provider>:<subject>, such as github:1234567",
}


def _allow_entry(view: View, entry: Place, rule: AllowRule, providers: list[str]) -> None:
    empty = [name for name in rule.__struct_fields__ if (text := getattr(rule, name)) is not None and not text.strip()]
    for name in empty:
        view.report((*entry, name), _CONDITIONS.get(name, "text that is not empty"))
    if empty:
        return
    if all(getattr(rule, name) is None for name in rule.__struct_fields__):
        hint = "`allow: anyone` in place of the list admits everybody who signs in"
        view.report(entry, "at least one condition", found="an empty entry", hint=hint)
        return
    try:
        compile_rules((rule,))
    except ValueError as error:
        key = str(error).partition(":")[0].partition(".")[2]
        if key in _CONDITIONS:
            view.report((*entry, key), _CONDITIONS[key])
        else:
            view.report(entry, "`service` alone", found="`service` together with conditions on a person")
        return
    for name in ("provider", "group", "subject"):
        if text := getattr(rule, name):
            _known_provider(view, (*entry, name), text.partition(":")[0], providers, "a provider of this route")


_MATCHES = {
    "methods": "HTTP methods in upper case, at least one",
    "paths": "path patterns such as /items/* or /items/**, at least one",
}


def _permissions(view: View) -> None:
    for route in view.each("routes"):
        providers = _route_providers(view, route)
        for place in view.each(*route, "permissions"):
            for scopes in view.each(*place, "scopes"):
                _known_provider(view, scopes, str(scopes[-1]), providers, "a provider of this route")
            permission = view.get(PermissionConfig, *place)
            if permission is None:
                continue
            try:
                compile_permissions({str(place[-1]): permission})
            except ValueError as error:
                keys = str(error).partition(":")[0].split(".")[1:]
                expected = "patterns that are not empty" if "mcp" in keys else _MATCHES[keys[-1]]
                view.report((*place, *keys), expected)


_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_OTHERS_HEADERS = re.compile(r"authorization|cookie|host|expect|(content|proxy|sec-websocket)-.*")


def _sent_headers(view: View) -> None:
    """RFC 9110 §5.1, §7.6.1; CVE-2025-64484: backends that fold `-`, `_` and `.` read two such names as one."""
    for route in view.each("routes"):
        first: dict[str, str] = {}
        for place in view.each(*route, "send", "headers"):
            name = str(place[-1])
            folded = re.sub(r"[._]", "-", name.lower())
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
                view.report(place, "a header name", found="a name with characters that headers cannot have")
            elif folded in _HOP_BY_HOP or _OTHERS_HEADERS.fullmatch(folded):
                view.report(place, "a header of your own, such as X-User", found=f"the header {name}")
            elif (other := first.setdefault(folded, name)) != name:
                view.report(place, "names that differ in more than case, -, _ and .", found=f"{name} beside {other}")


def _sent_authorization(view: View) -> None:
    for route in view.each("routes"):
        place = (*route, "send", "authorization")
        authorization = view.get(Authorization, *place)
        if authorization is None:
            continue
        name, static = authorization.provider_token, authorization.static
        if (name is None) == (static is None):
            found = "neither" if name is None else "both"
            view.report(place, "exactly one of provider_token and static", found=found)
        if name is not None:
            providers = _route_providers(view, route)
            _known_provider(view, (*place, "provider_token"), name, providers, "a provider of this route")


# --- clients ----------------------------------------------------------------------------------------------------------


def _clients(view: View) -> None:
    for client in view.each("clients"):
        uris: list[str] = []
        for place in view.each(*client, "redirect_uris"):
            uri = view.get(str, *place)
            if uri is None:
                continue
            uris.append(uri)
            if slug := redirect_problem(uri):
                hint = f"refused because of its {slug.replace('_', ' ')}"
                view.report(place, "an https URL, http on loopback, or a known application scheme", hint=hint)
        consent = (*client, "consent")
        if view.get(str, *consent) != "trusted":
            continue
        if view.lacks(*client, "secret"):
            hint = "anybody can pose as a client that has no secret"
            view.report(consent, "ask, for a client without a secret", hint=hint)
        if any(not uri.startswith("https://") for uri in uris):
            view.report(consent, "ask, for a client with redirect URIs other than https")


RULES: tuple[Callable[[View], None], ...] = (
    _public_url,
    _storage,
    _secrets,
    _trusted_proxies,
    _provider_clients,
    lambda view: _unique(view, "routes", "id"),
    lambda view: _unique(view, "routes", "path", lambda path: path.rstrip("/")),
    _paths,
    _backends,
    _providers_of_routes,
    _allow,
    _permissions,
    _sent_headers,
    _sent_authorization,
    _origins,
    lambda view: _unique(view, "clients", "id"),
    _clients,
)
"""All of them are asked; what none of them says is allowed."""
