"""The shapes of the config file, as written by a person. `documents` reads YAML into them; `app` compiles them into the
types of the floors above. Unit in the name or in the type, limit in the type, reason below the field.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from vestibule.model import Secret

Identifier = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="1 to 64 lower-case letters, digits, - and _")
]
"""Names that appear in URLs, scopes and log lines."""
Duration = Annotated[
    int,
    Meta(
        description="a duration such as 90, 90s, 15m, 1h or 30d",
        extra={"duration": True},
        extra_json_schema={"pattern": "^[0-9]{1,9}[smhd]?$"},
    ),
]
"""As text or as a number in the file; seconds here. A `description` is what an error says was expected."""
Seconds = Annotated[Duration, Meta(gt=0)]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections. msgspec does not inherit `kw_only`, so each subclass says it again."""


class Secrets(Section, frozen=True, kw_only=True):
    signing: Annotated[tuple[Secret, ...], Meta(min_length=1)]
    """First one signs, all verify: state, cookies, CSRF and identity JWT keys are derived from it (HKDF, RFC 5869)."""
    sealing: Annotated[tuple[Secret, ...], Meta(min_length=1)]
    """First one seals provider tokens at rest, all open."""


class ProviderClient(Section, frozen=True, kw_only=True):
    """How this gateway is registered at the provider."""

    id: str
    """The client id that the provider gave you."""
    secret: Secret | None = None
    """Needed unless the definition says `client: {auth: none}`, or authenticates with a key."""
    key: Secret | None = None
    """A private key in PEM, such as `${file:/run/secrets/key.pem}`, for definitions that sign (`private_key_jwt`)."""


class ProviderConfig(Section, frozen=True, kw_only=True):
    definition: str | None = None
    """A catalog name or a path to a YAML file, relative to the config file; default: the catalog entry of this id."""
    title: str | None = None
    """What people are shown; default: the definition's."""
    client: ProviderClient | None = None
    """Every provider needs it; `vestibule check` shows the redirect URI to register there."""
    params: dict[str, str] = field(default_factory=dict)
    """Values of the definition's variables, such as `issuer` or `base`; `vestibule providers list` names them."""
    scopes: tuple[str, ...] = ()
    """Asked for on every login, on top of what the definition and the chosen permissions need."""


class AllowRule(Section, frozen=True, kw_only=True):
    """All conditions of one entry must hold; the list of entries is any-of (design decision 8)."""

    provider: str | None = None
    """Everybody whom this provider identifies."""
    email: str | None = None
    """Full address; counts only if the provider verified it."""
    email_domain: str | None = None
    """Exact, without its subdomains; counts only for a verified address."""
    group: str | None = None
    """`<provider>:<group>`: a group of provider B never opens a route meant for provider A."""
    subject: str | None = None
    """`<provider>:<subject>`: ids win over names, which can be renamed and taken over."""
    service: str | None = None
    """Id of a service principal (a key without a person), or `"*"`."""


class McpMatch(Section, frozen=True, kw_only=True):
    methods: tuple[str, ...] = ()
    """Patterns over JSON-RPC methods other than tools/call, `*` for any run of characters."""
    tools: tuple[str, ...] = ()
    """Patterns over the tool name of tools/call."""


class Match(Section, frozen=True, kw_only=True):
    """Which requests a permission lets through; every given condition must hold. Empty: all of the route."""

    methods: tuple[str, ...] | None = None
    """HTTP methods in upper case; GET includes HEAD."""
    paths: tuple[str, ...] | None = None
    """Patterns relative to the route's path: `*` within a segment, `**` for any number of whole segments."""
    mcp: McpMatch | None = None
    """JSON-RPC calls, read out of the body of a POST: on an MCP endpoint, method and path say nothing."""


class PermissionConfig(Section, frozen=True, kw_only=True):
    title: str
    """What the consent page calls it."""
    description: str = ""
    """A sentence below the title."""
    default: bool = False
    """Part of what is asked for when a client names no scope."""
    match: Match = Match()
    """Which requests it lets through; left out: all of the route."""
    scopes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Provider scopes this permission implies, by provider id."""


class Authorization(Section, frozen=True, kw_only=True):
    """What goes into `Authorization` when it is not `strip` or `signed_jwt`: exactly one of both."""

    provider_token: str | None = None
    """Provider id: the user's own token at that provider, refreshed before it ends."""
    static: Secret | None = None
    """The whole header value, e.g. `Bearer ${file:/run/secrets/backend}`."""


IdentityClaim = Literal["sub", "email", "name", "login", "groups", "provider", "client_id", "scope"]


class Send(Section, frozen=True, kw_only=True):
    """What the backend is told; the client's own key never reaches it."""

    authorization: Literal["strip", "signed_jwt"] | Authorization = "strip"
    """strip: none. signed_jwt: a JWT about the user, valid for 60 s, whose keys are at `/.well-known/jwks.json`."""
    headers: dict[str, IdentityClaim] = field(default_factory=dict)
    """Header name → claim. Percent-encoded UTF-8; the client's own headers of these names are removed."""


class Timeouts(Section, frozen=True, kw_only=True):
    connect: Seconds = 5
    """Until a connection to the backend stands → 504."""
    first_byte: Seconds = 60
    """From the end of the request to the response's headers → 504."""
    idle: Seconds = 300
    """Longest silence inside a response; no total limit, so that SSE streams live."""


class RouteConfig(Section, frozen=True, kw_only=True):
    id: Identifier
    """Keys are bound to it: a route with another id is another route to them."""
    title: str = ""
    """What people are shown; default: the id."""
    path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._~/-]*$", description="a path such as /mcp")]
    """With all that lies below it, by whole segments; of nested routes the longest path alone decides."""
    backend: Annotated[
        str, Meta(pattern=r"^https?://[^\s?#]+$", description="an http or https URL such as http://127.0.0.1:9000/mcp")
    ]
    """What follows the route's own path is appended to it."""
    providers: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Ids of those that people may sign in with; with several, the consent page lets them choose."""
    allow: Literal["anyone"] | tuple[AllowRule, ...] | UnsetType = UNSET
    """Who may enter: whom one entry of the list admits, or anyone who can sign in."""
    permissions: dict[Identifier, PermissionConfig] = field(default_factory=dict)
    """Empty: one permission `access` that covers the route."""
    send: Send = Send()
    """What the backend gets in place of the client's key."""
    origins: tuple[str, ...] = ()
    """Browser origins that may call this route; requests without `Origin` are not affected."""
    allow_html: bool = False
    """Otherwise HTML from the backend is sandboxed, because our pages share its origin (design decision 5)."""
    allow_ambiguous_paths: bool = False
    """Forward paths that two parsers could read differently (`//`, `%2F`, `;` …), which otherwise get a 400."""
    max_body_bytes: Annotated[int, Meta(gt=0)] = 64 << 20
    """A larger request gets a 413. An MCP call, which is read whole to be judged, has at most 4 MiB in any case."""
    timeouts: Timeouts = Timeouts()
    """Towards the backend."""


class Lifetimes(Section, frozen=True, kw_only=True):
    authorization_code: Annotated[Duration, Meta(gt=0, le=600)] = 60
    """RFC 6749 §4.1.2 allows ten minutes; one redirect needs far less."""
    access_token: Annotated[Duration, Meta(ge=60, le=86400)] = 3600
    """Clients renew it without the user, and the allow rules are asked again each time."""
    refresh_token: Annotated[Duration, Meta(ge=3600)] = 30 * 86400
    """Idle limit: each rotation starts it anew."""
    session: Annotated[Duration, Meta(ge=3600)] = 365 * 86400
    """Absolute limit of one authorization, however often it is refreshed."""
    refresh_replay: Annotated[Duration, Meta(ge=0, le=60)] = 30
    """How long a lost refresh answer is repeated to who asks with the same token again (design decision 17)."""
    login: Annotated[Duration, Meta(gt=0, le=600)] = 600
    """For the consent page, and once more for the way through the provider and back."""


class Registration(Section, frozen=True, kw_only=True):
    dcr: bool = True
    """RFC 7591: deprecated by MCP in 2026-07-28 and still what most clients do."""
    cimd: bool = True
    """Clients whose id is the https URL of their metadata document."""
    unconfirmed_days: Annotated[int, Meta(gt=0, le=90)] = 3
    """A registration nobody approved is forgotten after this."""
    confirmed_days: Annotated[int, Meta(gt=0)] = 180
    """A registration in use is renewed; an unused one is forgotten after this."""
    max_unconfirmed: Annotated[int, Meta(gt=0)] = 10_000
    """More registrations than these get a 503 until some have expired; clients in use are not affected."""


class ClientConfig(Section, frozen=True, kw_only=True):
    """A pre-registered OAuth client."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,128}$", description="1 to 128 letters, digits, - . _ and ~")]
    """What it sends as `client_id`."""
    name: str
    """What the consent page calls it."""
    redirect_uris: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Compared as text; only the port of an http loopback URI may vary (RFC 8252 §7.3)."""
    secret: Secret | None = None
    """None: a public client."""
    consent: Literal["ask", "trusted"] = "ask"
    """trusted: no consent page, for a client with a secret and https redirect URIs, where a route has one provider."""


class Config(Section, frozen=True, kw_only=True):
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^https?://[^/\s?#@]+$",
            description="scheme, host and port only, such as https://gate.example.com",
        ),
    ]
    """Scheme, host and port, without a path or trailing slash: also the issuer (RFC 8414 §2)."""
    storage: str = "sqlite:///vestibule.db"
    """`sqlite:///` and a file; a relative one is in the working directory."""
    secrets: Annotated[
        Secrets, Meta(description="a section with signing and sealing, as `vestibule secrets` prints it")
    ]
    """There are no default ones (design decision 20)."""
    providers: dict[Identifier, ProviderConfig] = field(default_factory=dict)
    """By an id of your choice. Users are known by it, and it is in the redirect URI: renaming makes new users."""
    routes: Annotated[tuple[RouteConfig, ...], Meta(min_length=1)]
    """What is protected, and for whom."""
    clients: tuple[ClientConfig, ...] = ()
    """Pre-registered ones; clients that register by themselves need no entry."""
    lifetimes: Lifetimes = Lifetimes()
    """How long what is issued lasts."""
    registration: Registration = Registration()
    """How clients may register by themselves."""
    key_prefix: Annotated[
        str,
        Meta(pattern=r"^[a-z][a-z0-9]{1,15}$", description="2 to 16 lower-case letters and digits, a letter first"),
    ] = "vst"
    """First part of every key, so that secret scanners can find leaked ones."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For is passed on to backends; from anybody else it is replaced."""
