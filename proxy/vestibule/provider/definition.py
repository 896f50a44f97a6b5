"""The provider language as types: every key, and what it means. The defaults are in `defaults`, in the language itself.

"Every request has RFC defaults; YAML overlays them; null deletes a default." All requests are of one type (`Call`), all
values are written by templates and read by JMESPath. What the first table of the language had and this one has not,
because something general does it:

- `callback.capture` and a call's `keep` are `params.<n>.from`: one place says where a value comes from, what it must
  look like and what stands for it; whatever was read from a callback or a reply is kept with the connection.
- `params.<n>.from: start` is gone: what has to be known before the redirect is the config's to say.
- `introspect` is an `exchange` whose `out` yields an expiry and no access token.
- `refresh.use` is read off the refresh request: one that names no `${refresh_token}` needs none.
- A JSON or GET token request needs no list of parameters: the defaults go where the definition's own parameters are.
  A `json` section moves them into the JSON body, GET into the query, and otherwise they are a form.
- `out: data` is short for every field of a token reply below `data` (envelopes, nested tokens).
- `err` has `refused` and `unavailable`, so that the names that a provider gave its errors need no expression.
- `state.charset` is `state.pattern`, as everywhere; `scopes.extra` is one more parameter of `authorize.query`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from vestibule.provider.expression import Expression
from vestibule.provider.pattern import Pattern
from vestibule.provider.template import Json, Template


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections. msgspec does not inherit `kw_only`, so each subclass says it again."""


class Param(Section, frozen=True, kw_only=True):
    """A variable of the definition, `${p.<name>}` everywhere. The config may set it; then nothing else does."""

    default: str | None = None
    """What stands for it when nobody sets it."""
    required: bool = False
    """Without `from`: the config has to set it. With `from`: the callback or a reply has to bring it."""
    pattern: Pattern | None = None
    """What the whole value must look like. Needed with `from`: a captured value could choose where secrets are sent."""
    source: Expression | None = field(name="from", default=None)
    """JMESPath over `cb` (the callback), `t` (the token reply) and `x` (results of `exchange`, by name). The value is
    known from then on, kept with the connection, and read again whenever tokens are refreshed."""


SigningAlg = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Public-key algorithms only: with `none` or HS256 whoever knows the public key could sign (RFC 8725 §2.1)."""


class Oidc(Section, frozen=True, kw_only=True):
    """OpenID Connect: an empty section but for the issuer brings all of its defaults."""

    issuer: Template
    """Compared byte for byte with discovery's (OIDC Discovery §4.3) and with `iss`, where it may use `${id.…}`."""
    discovery: Template | None = None
    """Default: the issuer and `/.well-known/openid-configuration` (OIDC Discovery §4). `off`: there is none, and every
    URL is written down."""
    jwks: Template
    """Where the keys of id_tokens are; default: as discovered."""
    nonce: Literal["on", "off"]
    """off: it is not sent and not expected (LinkedIn)."""
    id_token: Literal["required", "optional"]
    """Whether a login without one is refused."""
    algs: Annotated[tuple[SigningAlg, ...], Meta(min_length=1)]
    """Algorithms of id_tokens that are believed."""
    audience: Template
    """What `aud` has to hold; default: the client id."""


ClientAuth = Literal["post", "basic", "none", "private_key_jwt", "client_secret_jwt", "jwt_as_secret"]
Auth = Literal["post", "basic", "none", "private_key_jwt", "client_secret_jwt", "jwt_as_secret", "bearer"]


class Jwt(Section, frozen=True, kw_only=True):
    """`${client.jwt}` proves who this client is: made anew for each request that holds it (RFC 7523 §3)."""

    alg: Literal["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"]
    """HS…: signed with the client secret; all others with the private key `client.key` of the config."""
    kid: Template | None = None
    """Key id in the header; none by default."""
    iss: Template
    """Default: the client id."""
    sub: Template
    """Default: the client id."""
    aud: Template
    """Default: the issuer, or without OIDC the URL of the token endpoint."""
    ttl: Annotated[int, Meta(gt=0, le=86400)]
    """Seconds until `exp`."""


class Client(Section, frozen=True, kw_only=True):
    """How this gateway authenticates where it has to (RFC 6749 §2.3.1, RFC 7523)."""

    auth: ClientAuth
    """post: id and secret as parameters. basic: in the header. none: the id alone. private_key_jwt and
    client_secret_jwt: an assertion. jwt_as_secret: such a JWT in place of the secret (Apple). A call may differ."""
    basic_user: Template
    """User name for basic; default: the id, form-encoded (RFC 6749 §2.3.1)."""
    basic_pass: Template
    """Password for basic; default: the secret, form-encoded. May be empty."""
    jwt: Jwt | None = None
    """There by default if `auth` needs it."""


class Scopes(Section, frozen=True, kw_only=True):
    """What is asked for (RFC 6749 §3.3): the scopes of the config and of the chosen permissions are added to these."""

    default: tuple[str, ...] = ()
    """Asked for on every login, unless a child definition says otherwise."""
    required: tuple[str, ...] = ()
    """Without these the identity cannot be read."""
    offline: tuple[str, ...] = ()
    """Needed for a refresh token; left out when discovery's `scopes_supported` does not list them."""
    sep: str
    """Between two scopes."""
    param: str | None = None
    """Query parameter of the authorize URL; null: scopes are not sent."""
    raw: bool = False
    """The scopes go into the URL as they are, for providers that do not decode them (then `sep` is a `+`, say)."""


class State(Section, frozen=True, kw_only=True):
    """What the provider takes as `state`; checked when the config loads, because ours is signed and thus long."""

    max: Annotated[int, Meta(gt=0)] | None = None
    """Characters."""
    pattern: Pattern | None = None
    """Ours consists of letters, digits, `-`, `_` and `.`."""


class Redirect(Section, frozen=True, kw_only=True):
    """Which redirect URIs can be registered; checked when the config loads."""

    https_only: bool = False
    """Plain http is refused, on loopback too."""
    loopback: bool = True
    """false: neither localhost nor an IP address."""


class Err(Section, frozen=True, kw_only=True):
    """Which answers are errors. Read from the whole reply, whatever its status."""

    code: Expression
    """Yields an RFC 6749 §5.2 code or one of the provider's own; null, false, 0 and "" are no error."""
    description: Expression | None = None
    """For the log."""
    refused: tuple[str, ...] = ()
    """Codes of the provider's own that mean `invalid_grant`: the person has to sign in again."""
    unavailable: tuple[str, ...] = ()
    """Codes of the provider's own that mean "later"."""


class Call(Section, frozen=True, kw_only=True):
    """One request: how to write it and how to tell whether it worked. All requests are of this type."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    """GET moves the default parameters into the query."""
    url: Template
    """Its scheme, host and port must not come from a reply, except by a parameter with `from`."""
    query: dict[str, Template] = {}
    """Added to what the URL has already."""
    form: dict[str, Template] = {}
    """The body as a form. With GET, the defaults are in `query` instead."""
    json: Json | None = None
    """The body as JSON, nested as you like. If there is such a section, the defaults are here instead."""
    body: Template | None = None
    """The body as text; name its type with a `Content-Type` header."""
    headers: dict[str, Template] = {}
    """Names as in RFC 9110 §5.1."""
    auth: Auth
    """bearer: the user's token, as `api` says. Otherwise as `client.auth`."""
    ok: Expression | None = None
    """A predicate over the reply, on top of 2xx (errors with status 200)."""
    err: Err

    def paths(self) -> frozenset[tuple[str, ...]]:
        """Every path that its templates use."""
        templates = [self.url, *self.query.values(), *self.form.values(), *self.headers.values()]
        bodies = [body for body in (self.json, self.body) if body is not None]
        return frozenset[tuple[str, ...]]().union(*(part.paths for part in (*templates, *bodies)))


class Step(Call, frozen=True, kw_only=True):
    """A call that is not always made."""

    when: Expression | None = None
    """A predicate over the documents at hand; where it does not hold, the call is not made and its document is null."""
    optional: bool = False
    """A refusal makes this call's document null. Unavailability never does: a group list that cannot be read now must
    not look like one that is empty."""


class Authorize(Section, frozen=True, kw_only=True):
    """The browser's way to the provider (RFC 6749 §4.1.1)."""

    url: Template
    """The authorization endpoint."""
    query: dict[str, Template] = {}
    """Its parameters."""
    fragment: Template | None = None
    """The parameters come after `#<fragment>?`, for pages that route by fragment."""
    par: Step | None = None
    """RFC 9126: the parameters are sent in a request before the redirect. OIDC: done where discovery demands it."""


class Hmac(Section, frozen=True, kw_only=True):
    """HMAC-SHA-256 in hex over the other parameters: sorted by name, form-encoded, joined by `&` (Shopify)."""

    param: str
    """The parameter that holds it."""
    key: Template
    """What signs, usually `${client.secret}`."""
    without: tuple[str, ...] = ()
    """More parameters that are not signed."""


class Callback(Section, frozen=True, kw_only=True):
    """The browser's way back (RFC 6749 §4.1.2)."""

    mode: Literal["query", "form_post"]
    """form_post: the browser posts it (OAuth 2.0 Form Post Response Mode); `response_mode` is then sent."""
    code: str
    """The parameter's name."""
    state: str
    """The parameter's name."""
    err: Err
    """Over the callback's parameters (RFC 6749 §4.1.2.1)."""
    iss: Template | None = None
    """What `iss` must be if it comes (RFC 9207 §2.4); it must come if discovery says so. Default: the OIDC issuer."""
    verify: Hmac | None = None
    """A signature of the provider's over the callback."""


class HopOut(Section, frozen=True, kw_only=True):
    """Where an exchange's reply holds what: what is found replaces what was known."""

    access_token: Expression | None = None
    """If it is named it must be there. Null: this exchange yields no token, but perhaps an expiry."""
    refresh_token: Expression | None = None
    """Null: it is not looked for."""
    expires_in: Expression | None = None
    """Seconds, as a number or as text."""
    expires_at: Expression | None = None
    """Seconds, milliseconds or ISO 8601; used where there is no `expires_in`."""
    scope: Expression | None = None
    """Text, separated by spaces or commas, or a list."""
    id_token: Expression | None = None
    """Looked at with an `oidc` section only."""


class TokenOut(HopOut, frozen=True, kw_only=True):
    """Where a token reply holds what (RFC 6749 §5.1, OIDC Core §3.1.3.3). As a text: the field that holds them all."""

    access_token: Expression
    """It must be there."""


_Lifetime = Annotated[int, Meta(gt=0, le=100 * 366 * 86400)]


class TokenCall(Call, frozen=True, kw_only=True):
    out: TokenOut
    lifetime: _Lifetime | None = None
    """Seconds; where the reply says nothing about expiry."""


class Exchange(Step, frozen=True, kw_only=True):
    """A further request after the token request: a long-lived token, a token for a resource, an introspection."""

    out: HopOut | None = None
    """By default as of a token reply. Null: only the document matters, `x.<name>`."""
    lifetime: _Lifetime | None = None
    """Seconds; where the reply brings a token and says nothing about expiry."""
    at: tuple[Literal["login", "refresh"], ...] = ("login",)
    """Whether it is made after the first token request, after each refresh, or both."""


class Refresh(TokenCall, frozen=True, kw_only=True):
    """Inherits `token`, but for what carries the code. `none`: tokens are used until they end."""

    rotate: Literal["auto", "replace", "keep"]
    """auto: a new refresh token replaces the old one (RFC 6749 §6). replace: the old one is spent even if no new one
    comes. keep: the first one lives on whatever comes."""
    early: Annotated[int, Meta(ge=0, le=60 * 86400)]
    """Seconds before expiry at which to refresh; days where the access token itself is what is renewed."""


class Paginate(Section, frozen=True, kw_only=True):
    """The document is the list of all items, of ten pages at most. `link` is short for `{by: link}`."""

    by: Literal["link", "cursor", "page"]
    """link: `Link: rel="next"` (RFC 8288). cursor: as `next` says. page: numbers from `first` until a page is empty."""
    items: Expression
    """Where a page holds its list; default: it is the list."""
    next: Expression | None = None
    """Where a page holds the cursor of the next, or without `param` its URL; empty at the end."""
    param: str | None = None
    """Query parameter of the cursor or the page number."""
    first: Annotated[int, Meta(ge=0, le=1)] = 1
    """Number of the first page, which is asked for without a number."""


class IdentityCall(Step, frozen=True, kw_only=True):
    paginate: Paginate | None = None


class IdentityMap(Section, frozen=True, kw_only=True):
    """JMESPath over `p`, `t`, `x`, `id`, `scopes` and the document of each identity call, by its name."""

    sub: Expression
    """Must be an id that is never given to anyone else; within `tenant`, if that is mapped."""
    tenant: Expression | None = None
    """For providers whose `sub` is an id within a workspace or directory only."""
    email: Expression | None = None
    """Rules of the config count it only if it is verified."""
    email_verified: Expression | None = None
    """true, or "true" (Apple); anything else is false."""
    name: Expression | None = None
    """May use `cb`, the callback, which the browser could have changed: Apple names the user there and only there."""
    login: Expression | None = None
    """A name that the user chose there; it may change hands."""
    picture: Expression | None = None
    """A URL."""
    groups: Expression | None = None
    """A list of texts. Empty: in none. Null: not known, and what was known before stays."""


class IdentitySection(Section, frozen=True, kw_only=True):
    """Who it is."""

    calls: dict[str, IdentityCall] = {}
    """Made in this order; each sees the documents of those before it."""
    map: IdentityMap
    allow: Expression | None = None
    """A predicate over the same documents: who may log in at all (a hosted domain, an organisation)."""


class Api(Section, frozen=True, kw_only=True):
    """How the user's token is presented: by identity calls, by `auth: bearer`, and by the gate (RFC 6750 §2)."""

    base: Template | None = None
    """The root of the API. URLs of identity calls that begin with `/` are below it. A route's backend stays the admin's
    to name: where the gate sends a token is no reply's business."""
    header: dict[str, Template] = {}
    """They replace the client's of the same names."""
    query: dict[str, Template] = {}
    """They replace the client's of the same names."""


class Definition(Section, frozen=True, kw_only=True):
    """An identity provider."""

    title: str
    """What people are shown."""
    extends: str | None = None
    """The catalog name of another definition, or a file beside this one; this one is laid over it."""
    params: dict[str, Param] = {}
    oidc: Oidc | None = None
    client: Client
    scopes: Scopes
    pkce: Literal["S256", "plain", "off"]
    """RFC 7636. off only where the provider refuses it: unknown parameters are ignored (RFC 6749 §3.1)."""
    state: State = State()
    redirect: Redirect = Redirect()
    authorize: Authorize
    callback: Callback
    token: TokenCall
    """RFC 6749 §4.1.3."""
    exchange: dict[str, Exchange] = {}
    """Made after `token`, in this order."""
    refresh: Refresh | Literal["none"]
    """RFC 6749 §6."""
    revoke: Step | None = None
    """RFC 7009; nothing is sent where no URL is known."""
    identity: IdentitySection
    api: Api
