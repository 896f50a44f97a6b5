"""Where an answer may be sent, and what a client may say about itself when it registers.

Redirect URIs are matched as strings (RFC 9700 §2.1); only the port of an http loopback URI varies (RFC 8252 §7.3).
MCP's text knows https and loopback only, but desktop clients register private-use schemes, so those on a list are taken
and any in reverse-DNS form, as RFC 8252 §7.1 has them. A list, not "anything but javascript:": a scheme with a meaning
to some browser or operating system would run what the answer carries.

Registration (RFC 7591) is open to anybody, so nothing in it is believed that would give a client more than a consent
page: what is not read here cannot be smuggled in.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct, structs

from vestibule.errors import InvalidClientMetadata, InvalidRedirectUri
from vestibule.model import ClientRecord, ClientSource
from vestibule.oauth.uris import UriProblem, parse_uri

AuthMethod = Literal["none", "client_secret_basic", "client_secret_post"]

PRIVATE_USE_SCHEMES = frozenset(
    {
        "antigravity",
        "claude",
        "code-oss",
        "cursor",
        "goose",
        "insomnia",
        "jetbrains",
        "kiro",
        "lmstudio",
        "postman",
        "raycast",
        "trae",
        "vscode",
        "vscode-insiders",
        "vscodium",
        "warp",
        "windsurf",
        "windsurf-next",
        "zed",
    }
)
"""Desktop applications known as MCP clients whose scheme has no dot."""
MAX_DOCUMENT_BYTES = 64 * 1024
MAX_REDIRECT_URIS = 32
MAX_NAME_CHARACTERS = 80

_GRANT_TYPES = ("authorization_code", "refresh_token")
_REVERSE_DNS = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+")
_LOOPBACK = re.compile(r"(?P<origin>http://(?:localhost|127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?(?P<rest>(?:[/?].*)?)")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that show nothing and yet are neither control nor format characters to Unicode."""


# --- redirect URIs ----------------------------------------------------------------------------------------------------


def redirect_problem(uri: str) -> str | None:
    """Why `uri` can never be a redirect URI, as a slug; None if it can (RFC 6749 §3.1.2, RFC 8252 §7)."""
    try:
        parsed = parse_uri(uri)
    except UriProblem as problem:
        return problem.slug
    match parsed.scheme:
        case "https":
            return None if parsed.host else "host"
        case "http":
            return None if is_loopback(uri) else "http_not_loopback"
        case scheme if scheme in PRIVATE_USE_SCHEMES or _REVERSE_DNS.fullmatch(scheme):
            return None
    return "scheme"


def is_loopback(uri: str) -> bool:
    """An http URI of this very machine (RFC 8252 §7.3); `localhost` too, against §8.3, because clients use it."""
    return _LOOPBACK.fullmatch(uri) is not None


def redirect_matches(registered: str, given: str) -> bool:
    """Simple string comparison (RFC 3986 §6.2.1), less the port of a loopback URI; the host stays the same literal."""
    return _without_port(registered) == _without_port(given)


def redirect_host(uri: str) -> str:
    """Where a redirect URI leads, for people to read: a host in its ASCII form, or `scheme:` for an application.

    International names stay in punycode, where `xn--pple-43d.com` does not look like the name that it imitates.
    """
    try:
        parsed = parse_uri(uri)
    except UriProblem:
        return ""
    if parsed.scheme not in ("http", "https"):
        return f"{parsed.scheme}:"
    return parsed.host if parsed.port is None or is_loopback(uri) else f"{parsed.host}:{parsed.port}"


def _without_port(uri: str) -> str:
    match = _LOOPBACK.fullmatch(uri)
    return match["origin"] + match["rest"] if match else uri


# --- registration -----------------------------------------------------------------------------------------------------


class Registration(Struct, frozen=True, kw_only=True):
    """All that is kept of what a client says about itself."""

    name: str
    redirect_uris: tuple[str, ...]
    auth_method: AuthMethod
    grant_types: tuple[str, ...]
    client_uri: str | None
    logo_uri: str | None

    def digest_input(self) -> bytes:
        """The same bytes for the same client: over every field, without loopback ports and order of URIs.

        Installations of one public client then share one record, however often and on whatever port they register.
        """
        portless = tuple(sorted({_without_port(uri) for uri in self.redirect_uris}))
        return msgspec.json.encode(structs.replace(self, redirect_uris=portless))

    def record(
        self,
        client_id: str,
        *,
        source: ClientSource,
        created_at: int = 0,
        expires_at: int | None = None,
        secret_digest: bytes | None = None,
    ) -> ClientRecord:
        """Never `trusted` and never confirmed: those are the operator's and the user's to say."""
        return ClientRecord(
            id=client_id,
            source=source,
            name=self.name,
            redirect_uris=self.redirect_uris,
            auth_method=self.auth_method,
            secret_digest=secret_digest,
            grant_types=self.grant_types,
            client_uri=self.client_uri,
            logo_uri=self.logo_uri,
            created_at=created_at,
            expires_at=expires_at,
        )


def read_registration(document: bytes) -> Registration:
    """A client registration request (RFC 7591 §2, §3.1)."""
    if len(document) > MAX_DOCUMENT_BYTES:
        raise InvalidClientMetadata("document_too_large", f"{len(document)} bytes")
    fields = read_object(document)
    method = fields.get("token_endpoint_auth_method")
    if method is None:
        method = "client_secret_basic"  # RFC 7591 §2: the default when omitted
    try:
        auth_method: AuthMethod = msgspec.convert(method, AuthMethod)
    except msgspec.ValidationError:
        raise InvalidClientMetadata("auth_method_unsupported") from None
    return read_fields(fields, auth_method)


def read_object(document: bytes) -> dict[str, Any]:
    """A JSON object or InvalidClientMetadata. A nested one deep enough to exhaust the stack is just malformed."""
    try:
        return msgspec.json.decode(document, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidClientMetadata("document_malformed", "not a JSON object") from None


def read_fields(fields: Mapping[str, Any], auth_method: AuthMethod) -> Registration:
    """The fields that dynamic registration and metadata documents have in common (RFC 7591 §2).

    Others are ignored, as §2 demands, and so are `scope`, `software_statement` and whatever claims to be trusted: the
    permissions are the user's choice, and no publisher of statements is configured.
    """
    redirect_uris = _redirect_uris(fields.get("redirect_uris"))
    name = fields.get("client_name")
    if name is not None and not isinstance(name, str):
        raise InvalidClientMetadata("client_name_malformed")
    response_types = _strings(fields, "response_types")
    if response_types and "code" not in response_types:
        raise InvalidClientMetadata("response_types_unusable")
    wanted = _strings(fields, "grant_types") or ("authorization_code",)  # RFC 7591 §2: the default when omitted
    if "authorization_code" not in wanted:
        raise InvalidClientMetadata("grant_types_unusable")
    return Registration(
        name=clean_name(name or "") or redirect_host(redirect_uris[0]),
        redirect_uris=redirect_uris,
        auth_method=auth_method,
        # VS Code lists device_code and others besides: unknown ones are filtered, not refused. A client that does not
        # list refresh_token (many rely on the default) gets it all the same, and is told (§3.2.1): without it people
        # would have to sign in every hour.
        grant_types=_GRANT_TYPES,
        client_uri=_link(fields.get("client_uri")),
        logo_uri=_link(fields.get("logo_uri")),
    )


def clean_name(text: str) -> str:
    """A name that cannot play tricks in a line of text: no control, bidi, zero-width or unassigned characters.

    HTML in it stays what it is, text; the templates escape it.
    """
    visible = (
        " " if character.isspace() else character
        for character in _INVISIBLE.sub("", text)
        if character.isspace() or not unicodedata.category(character).startswith("C")
    )
    return " ".join("".join(visible).split())[:MAX_NAME_CHARACTERS].rstrip()


def registration_response(client: ClientRecord, secret: str | None, issued_at: int) -> dict[str, Any]:
    """RFC 7591 §3.2.1: what was registered, which may differ from what was asked for."""
    response: dict[str, Any] = {
        "client_id": client.id,
        "client_id_issued_at": issued_at,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(client.grant_types),
        "response_types": ["code"],
        "token_endpoint_auth_method": client.auth_method,
    }
    if client.client_uri is not None:
        response["client_uri"] = client.client_uri
    if client.logo_uri is not None:
        response["logo_uri"] = client.logo_uri
    if secret is not None:
        # 0 means that the secret does not expire by itself: the registration does, and is renewed by use.
        response |= {"client_secret": secret, "client_secret_expires_at": 0}
    return response


def _redirect_uris(value: Any) -> tuple[str, ...]:
    """The usable ones: Cursor registers several kinds at once, and one odd URI must not sink the rest."""
    if not isinstance(value, list) or not value:
        raise InvalidRedirectUri("redirect_uris_missing")
    if len(value) > MAX_REDIRECT_URIS:
        raise InvalidRedirectUri("redirect_uris_too_many", f"{len(value)} of them")
    problems = {uri: redirect_problem(uri) for uri in value if isinstance(uri, str)}
    usable = tuple(uri for uri, problem in problems.items() if problem is None)
    if not usable:
        raise InvalidRedirectUri(
            "redirect_uris_unusable", ", ".join(sorted({slug for slug in problems.values() if slug}))
        )
    return usable


def _strings(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidClientMetadata(f"{name}_malformed")
    return tuple(item for item in value if isinstance(item, str))


def _link(value: Any) -> str | None:
    """A link for the consent page: https or nothing, so that neither `javascript:` nor a tracker on http gets there."""
    try:
        parsed = parse_uri(value) if isinstance(value, str) else None
    except UriProblem:
        return None
    return value if parsed and parsed.scheme == "https" and parsed.host else None
