"""The provider language as types, and its defaults written in the language itself.

"Every request has RFC defaults; YAML overlays them; null deletes a default." So the defaults are no code: `RFC`,
`OIDC`, `CREDENTIALS` and `REFRESH` below are definitions like those of the catalog, only lower in the pile. `complete`
piles them up; what comes out says everything about a provider, and no other module knows what a default is.

    credentials  <  RFC  <  OIDC (if there is an `oidc` section)  <  the definition (itself: parent < child)

Null stays in the pile as a mark until the very end, so that a parent's null deletes a default below it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from vestibule.provider.template import BadTemplate, Expression, Template

# --- the types -------------------------------------------------------------------------------------------------------


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections. msgspec does not inherit `kw_only`, so each subclass says it again."""


class Pattern:
    """A regular expression that has to match the whole value: `https://good.example` must not admit its suffixes."""

    __slots__ = ("_compiled", "source")

    def __init__(self, source: object) -> None:
        try:
            self._compiled = re.compile(source)  # type: ignore[call-overload]  # anything else is refused below
        except (re.error, TypeError) as error:
            raise BadTemplate(f"not a regular expression: {error}") from None
        self.source = source

    def matches(self, text: str) -> bool:
        return self._compiled.fullmatch(text) is not None


class Param(Section, frozen=True, kw_only=True):
    """A variable of the definition that the config sets: `${p.<name>}`."""

    default: str | None = None
    required: bool = False
    pattern: Pattern | None = None


SigningAlg = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Public-key algorithms only: with `none` or HS256 whoever knows the public key could sign (RFC 8725 §2.1)."""


class Oidc(Section, frozen=True, kw_only=True):
    issuer: Template
    """Compared byte for byte with discovery's (OIDC Discovery §4.3) and with `iss`, where it may use `${id.…}`."""
    discovery: Template | None = None
    """Default: the issuer and `/.well-known/openid-configuration` (OIDC Discovery §4)."""
    nonce: Literal["on", "off"]
    id_token: Literal["required", "optional"]
    algs: Annotated[tuple[SigningAlg, ...], Meta(min_length=1)]
    audience: Template


Auth = Literal["post", "basic", "none", "bearer"]


class Client(Section, frozen=True, kw_only=True):
    auth: Literal["post", "basic", "none"]
    """How this gateway authenticates at the token endpoint (RFC 6749 §2.3.1); a call may differ with its own `auth`."""


class Scopes(Section, frozen=True, kw_only=True):
    default: tuple[str, ...] = ()
    """Asked for on every login, unless a child definition says otherwise."""
    required: tuple[str, ...] = ()
    """Without these the identity cannot be read."""
    offline: tuple[str, ...] = ()
    """Needed for a refresh token; left out when discovery's `scopes_supported` does not list them."""
    sep: str
    param: str | None = None
    """Query parameter of the authorize URL."""


class Authorize(Section, frozen=True, kw_only=True):
    url: Template
    query: dict[str, Template] = {}


class Callback(Section, frozen=True, kw_only=True):
    """Names of the callback's parameters (RFC 6749 §4.1.2)."""

    code: str
    state: str


class Err(Section, frozen=True, kw_only=True):
    code: Expression
    """Yields an RFC 6749 §5.2 code, or null when there is no error; checked whatever the HTTP status is."""
    description: Expression | None = None


class Call(Section, frozen=True, kw_only=True):
    """One request: how to write it and how to tell whether it worked. All requests are of this type."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: Template
    query: dict[str, Template] = {}
    form: dict[str, Template] = {}
    json: dict[str, Template] = {}
    headers: dict[str, Template] = {}
    auth: Auth
    ok: Expression | None = None
    """A predicate over the reply, on top of 2xx."""
    err: Err


class TokenOut(Section, frozen=True, kw_only=True):
    """Where a token reply holds what (RFC 6749 §5.1, OIDC Core §3.1.3.3)."""

    access_token: Expression
    refresh_token: Expression | None = None
    expires_in: Expression | None = None
    expires_at: Expression | None = None
    scope: Expression | None = None
    id_token: Expression | None = None


class TokenCall(Call, frozen=True, kw_only=True):
    out: TokenOut


class Refresh(TokenCall, frozen=True, kw_only=True):
    rotate: Literal["auto", "replace", "keep"]
    """auto: a new refresh token replaces the old one (RFC 6749 §6). replace: the old one is spent even if no new one
    comes. keep: the first one lives on whatever comes."""
    early: Annotated[int, Meta(ge=0, le=3600)]
    """Seconds before expiry at which to refresh."""


class IdentityCall(Call, frozen=True, kw_only=True):
    paginate: Literal["link"] | None = None
    """Follow `Link: rel="next"` (RFC 8288) and join the pages, which must be arrays."""
    optional: bool = False
    """A refusal makes this call's document null. Unavailability never does: a group list that cannot be read now must
    not look like one that is empty."""
    when: Expression | None = None


class IdentityMap(Section, frozen=True, kw_only=True):
    sub: Expression
    """Must be an id that is never given to anyone else; within `tenant`, if that is mapped."""
    tenant: Expression | None = None
    email: Expression | None = None
    email_verified: Expression | None = None
    name: Expression | None = None
    login: Expression | None = None
    picture: Expression | None = None
    groups: Expression | None = None


class IdentitySection(Section, frozen=True, kw_only=True):
    calls: dict[str, IdentityCall] = {}
    """Made in this order; each sees the documents of those before it."""
    map: IdentityMap
    allow: Expression | None = None
    """A predicate over the same documents: who may log in at all."""


class Api(Section, frozen=True, kw_only=True):
    header: dict[str, Template]
    """How the provider's token is presented, by identity calls and by the gate (RFC 6750 §2.1)."""


class Definition(Section, frozen=True, kw_only=True):
    title: str
    extends: str | None = None
    """Resolved by whoever reads the files, with `merge`."""
    params: dict[str, Param] = {}
    oidc: Oidc | None = None
    client: Client
    scopes: Scopes
    pkce: Literal["S256", "off"]
    authorize: Authorize
    callback: Callback
    token: TokenCall
    refresh: Refresh | Literal["none"]
    revoke: Call | None = None
    identity: IdentitySection
    api: Api


# --- the defaults ----------------------------------------------------------------------------------------------------

_CALL = {"headers": {"Accept": "application/json"}, "err": {"code": "error", "description": "error_description"}}

RFC: dict[str, Any] = {
    "client": {"auth": "post"},
    "scopes": {"sep": " ", "param": "scope"},
    "pkce": "S256",
    "authorize": {  # RFC 6749 §4.1.1, RFC 7636 §4.3
        "query": {
            "response_type": "code",
            "client_id": "${client.id}",
            "redirect_uri": "${redirect_uri}",
            "state": "${state}",
            "code_challenge": "${challenge}",
            "code_challenge_method": "${challenge_method}",
        }
    },
    "callback": {"code": "code", "state": "state"},
    "token": _CALL  # RFC 6749 §4.1.3, §5.1; RFC 7636 §4.5
    | {
        "method": "POST",
        "form": {
            "grant_type": "authorization_code",
            "code": "${code}",
            "redirect_uri": "${redirect_uri}",
            "code_verifier": "${verifier}",
        },
        "out": {
            name: name for name in ("access_token", "refresh_token", "expires_in", "expires_at", "scope", "id_token")
        },
    },
    "refresh": {"rotate": "auto", "early": 120},
    "revoke": _CALL  # RFC 7009 §2.1: revoking the refresh token ends what it gave
    | {"method": "POST", "form": {"token": "${refresh_token ?? access_token}"}},
    "api": {"header": {"Authorization": "Bearer ${access_token}"}},
}

REFRESH: dict[str, Any] = {  # RFC 6749 §6, on top of the token call; without `scope` the scope stays as granted
    "form": {
        "grant_type": "refresh_token",
        "refresh_token": "${refresh_token}",
        "code": None,
        "redirect_uri": None,
        "code_verifier": None,
    }
}

IDENTITY_CALL: dict[str, Any] = _CALL | {"method": "GET", "auth": "bearer"}

_PERSON = "(userinfo.email && userinfo || id)"  # an address and its verification must come from the same document

OIDC: dict[str, Any] = {  # OIDC Core §3.1.2.1, §3.1.3.7, §5.1, §5.3; Discovery §3
    "oidc": {
        "nonce": "on",
        "id_token": "required",
        "algs": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
        "audience": "${client.id}",
    },
    "authorize": {"url": "${d.authorization_endpoint}", "query": {"nonce": "${nonce}"}},
    "token": {"url": "${d.token_endpoint}"},
    "revoke": {"url": "${d.revocation_endpoint}"},
    "identity": {
        "calls": {"userinfo": {"url": "${d.userinfo_endpoint}", "when": "d.userinfo_endpoint"}},
        "map": {
            "sub": "id.sub || userinfo.sub",
            "email": f"{_PERSON}.email",
            "email_verified": f"{_PERSON}.email_verified",
            "name": "userinfo.name || id.name",
            "login": "userinfo.preferred_username || id.preferred_username",
            "picture": "userinfo.picture || id.picture",
            "groups": "(userinfo.groups || id.groups)[]",
        },
    },
}

CREDENTIALS: dict[str, dict[str, Any]] = {
    "post": {"form": {"client_id": "${client.id}", "client_secret": "${client.secret}"}},
    "basic": {"headers": {"Authorization": "Basic ${client.basic}"}},
    "none": {"form": {"client_id": "${client.id}"}},
}
"""RFC 6749 §2.3.1 and §3.2.1, as the lowest layer of a call: a renamed parameter is an overlay like any other. The
fourth, `bearer`, is `api.header`."""


# --- piling up -------------------------------------------------------------------------------------------------------


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: mappings merge, everything else replaces, null deletes.

    A null is kept as a mark, because `base` may itself be laid over defaults that the null is meant for; `complete`
    drops the marks. Neither argument is changed.
    """
    return base | {
        key: merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in over.items()
    }


def complete(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with every default written out. Takes anything; what is wrong in it is left for the type check."""
    whole = merge(RFC, OIDC) if isinstance(raw.get("oidc"), dict) else RFC
    whole = merge(whole, dict(raw))
    authorize, token, refresh, revoke, identity = (
        whole.get(key) for key in ("authorize", "token", "refresh", "revoke", "identity")
    )
    client_auth, param = _at(whole, "client", "auth"), _at(whole, "scopes", "param")
    if client_auth not in list(CREDENTIALS):
        client_auth = "none"  # reported once, at `client.auth`, and not at every call that inherits it
    layered: dict[str, Any] = {}

    def credentialed(call: dict[str, Any]) -> dict[str, Any]:
        auth = call.get("auth", client_auth)
        bearer = {"headers": _at(whole, "api", "header")} if auth == "bearer" else {}
        return merge(CREDENTIALS.get(auth, bearer) if isinstance(auth, str) else {}, {"auth": auth} | call)

    if isinstance(authorize, dict) and isinstance(param, str):
        layered["authorize"] = merge({"query": {param: "${scope}"}}, authorize)
    if isinstance(token, dict):
        layered["token"] = credentialed(token)
    if isinstance(token, dict) and isinstance(refresh, dict):
        layered["refresh"] = credentialed(merge(merge(token, REFRESH), refresh))
    if isinstance(revoke, dict):
        layered["revoke"] = credentialed(revoke) if revoke.get("url") is not None else None
    if isinstance(identity, dict) and isinstance(calls := identity.get("calls"), dict):
        layered["identity"] = identity | {
            "calls": {
                name: credentialed(merge(IDENTITY_CALL, call)) if isinstance(call, dict) else call
                for name, call in calls.items()
            }
        }
    return _without_nulls(whole | layered)


def _at(document: dict[str, Any], *steps: str) -> Any:
    value: Any = document
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _without_nulls(document: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }
