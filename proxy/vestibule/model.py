"""Values that every floor shares: secrets, HTTP calls as values, identities and the records of the database.

All times are epoch seconds (int). All digests are raw SHA-256 (bytes). Nothing here does I/O or reads a clock.
"""

import hmac
from collections.abc import Generator, Mapping
from enum import StrEnum
from typing import Any, Literal, NoReturn, TypeVar

from msgspec import Struct, field


class Secret:
    """Text that cannot be printed, logged, pickled or encoded by accident; `reveal()` is the one way out.

    msgspec has no encoder for it, so a Struct that holds one cannot be serialised either.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret is never a dictionary key

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied")


# --- the network as values -------------------------------------------------------------------------------------------


class HttpCall(Struct, frozen=True, kw_only=True):
    """One control-plane request, fully described; only `outbound` sends it."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    trusted: bool = False
    """True when the admin's config chose the origin: exempt from the SSRF guard (design decision: in-cluster IdPs)."""
    cache_seconds: int = 0
    """> 0 for discovery documents and key sets: `outbound` may answer a GET from its cache for so long."""
    fresh: bool = False
    """Skip the cache once, for a key set that lacks the `kid` at hand; `outbound` limits how often."""
    max_bytes: int = 1 << 20
    timeout_seconds: float = 10.0

    def __repr__(self) -> str:
        """Method and URL without its query: headers, query and body may hold secrets."""
        return f"HttpCall({self.method} {self.url.partition('?')[0]})"


class HttpReply(Struct, frozen=True, kw_only=True):
    """What came back: header names lower-case, repeated ones joined with ", "; `body` at most `max_bytes`."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpReply({self.status}, {len(self.body)} bytes)"


class HttpFailure(Struct, frozen=True):
    """No usable reply: `reason` is a stable slug, `detail` goes to the log only."""

    reason: Literal["timeout", "connect", "too_large", "tls", "blocked", "protocol"]
    detail: str = ""


T = TypeVar("T")
Conversation = Generator[HttpCall, HttpReply | HttpFailure, T]
"""A sans-IO exchange: yields calls, is sent replies, returns its result. `outbound.converse` runs one."""


# --- people and programs ---------------------------------------------------------------------------------------------


class Identity(Struct, frozen=True, kw_only=True):
    """Who a provider says that somebody is. (provider, tenant, subject) identifies; e-mail never does."""

    provider: str
    tenant: str = ""
    subject: str
    email: str | None = None
    email_verified: bool = False
    name: str | None = None
    login: str | None = None
    picture: str | None = None
    groups: tuple[str, ...] | None = None
    """None: the provider was not asked, which is not the same as none (a scope may have been left out)."""


class Service(Struct, frozen=True):
    """A principal without a person: a pre-registered client or an operator's key. `sub` is `client:<id>`."""

    id: str


Principal = Identity | Service


# --- records: one row each, as the store returns them ----------------------------------------------------------------


class UserRecord(Struct, frozen=True, kw_only=True):
    id: str
    provider: str
    tenant: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None
    login: str | None
    picture: str | None
    groups: tuple[str, ...]
    disabled_at: int | None = None

    def identity(self) -> Identity:
        return Identity(
            provider=self.provider,
            tenant=self.tenant,
            subject=self.subject,
            email=self.email,
            email_verified=self.email_verified,
            name=self.name,
            login=self.login,
            picture=self.picture,
            groups=self.groups,
        )


class ClientSource(StrEnum):
    CONFIGURED = "configured"
    CIMD = "cimd"
    DCR = "dcr"


class ClientRecord(Struct, frozen=True, kw_only=True):
    """A client as authorize and token see it, whichever of the three ways it was registered."""

    id: str
    source: ClientSource
    name: str
    redirect_uris: tuple[str, ...]
    auth_method: Literal["none", "client_secret_basic", "client_secret_post"] = "none"
    secret_digest: bytes | None = None
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    client_uri: str | None = None
    logo_uri: str | None = None
    trusted: bool = False
    """`consent: trusted` in the config: no consent page for a pre-registered https client."""
    created_at: int = 0
    confirmed_at: int | None = None
    """When a user first approved it: an unconfirmed client is never redirected to automatically."""
    expires_at: int | None = None


class LoginRecord(Struct, frozen=True, kw_only=True):
    """A browser on its way through a provider; exists only after consent."""

    id: str
    step: str
    provider: str
    cookie_digest: bytes
    request: dict[str, Any]
    """The validated authorization request (`oauth.authorize.AuthorizationRequest`), as JSON types."""
    permissions: tuple[str, ...]
    nonce: str
    verifier_sealed: bytes | None
    scopes: tuple[str, ...]
    """Provider scopes asked for: those of the chosen permissions and the definition's required ones."""
    created_at: int
    expires_at: int
    error_slug: str | None = None


class ConnectionRecord(Struct, frozen=True, kw_only=True):
    """The provider's tokens for one user and one scope set, sealed."""

    id: str
    user_id: str
    provider: str
    scopes: tuple[str, ...]
    access_sealed: bytes
    refresh_sealed: bytes | None
    kept_sealed: bytes | None = None
    """What the callback or a reply said that later requests need (`Tokens.kept`), as JSON."""
    expires_at: int | None
    refreshed_at: int = 0
    """When these tokens came: some live for a minute only, and must not be refreshed on every request."""
    version: int
    lease_owner: str | None
    lease_until: int
    ended_at: int | None
    ended_reason: str | None


class GrantRecord(Struct, frozen=True, kw_only=True):
    id: str
    user_id: str
    client_id: str
    route: str
    created_at: int
    revoked_at: int | None


class FamilyRecord(Struct, frozen=True, kw_only=True):
    """What one authorization gave: keys, refresh tokens and permissions are revoked together, and only together."""

    id: str
    grant_id: str
    connection_id: str | None
    permissions: tuple[str, ...]
    created_at: int
    expires_at: int
    revoked_at: int | None
    revoked_reason: str | None


class CodeRecord(Struct, frozen=True, kw_only=True):
    digest: bytes
    family_id: str
    client_id: str
    redirect_uri: str
    challenge: str
    resource: str
    expires_at: int
    used_at: int | None


class KeyKind(StrEnum):
    ACCESS_TOKEN = "at"  # noqa: S105  # the kind inside the token's text
    API_KEY = "key"
    REFRESH_TOKEN = "rt"  # noqa: S105


class KeyRecord(Struct, frozen=True, kw_only=True):
    """An access token or an API key: one credential model for both."""

    id: str
    digest: bytes
    kind: KeyKind
    name: str
    family_id: str | None
    service: str | None
    route: str
    permissions: tuple[str, ...]
    created_at: int
    expires_at: int
    last_used_at: int | None
    revoked_at: int | None


class RefreshRecord(Struct, frozen=True, kw_only=True):
    digest: bytes
    family_id: str
    generation: int
    created_at: int
    expires_at: int
    used_at: int | None
    successor_sealed: bytes | None
    replay_until: int | None


class KeyFacts(Struct, frozen=True, kw_only=True):
    """All that admission needs of one key, joined in one read."""

    key: KeyRecord
    family: FamilyRecord | None = None
    grant: GrantRecord | None = None
    user: UserRecord | None = None
    connection: ConnectionRecord | None = None


class Tokens(Struct, frozen=True, kw_only=True):
    """A provider's token reply, read by the definition's `out`. `raw` is the whole document, for identity maps."""

    access_token: Secret | None
    refresh_token: Secret | None = None
    expires_at: int | None = None
    scopes: tuple[str, ...] | None = None
    id_token: Secret | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
    exchanged: Mapping[str, Any] = field(default_factory=dict)
    """Documents of the definition's `exchange` calls, by name; for identity maps too."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Parameters that the callback or a reply brought; later requests need them, so they live with the connection."""

    def __repr__(self) -> str:
        return f"Tokens(expires_at={self.expires_at})"
