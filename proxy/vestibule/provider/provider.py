"""From a definition and the admin's values to a `Provider`: an immutable object about which nothing is left to find out
at a user's login. Every problem is reported at once, each with the path of what has to be changed: single values and
names by `checking`, what no single value shows here.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from vestibule.crypto.jose import BadKey, ClientKey
from vestibule.model import Secret
from vestibule.provider.checking import Problem, Walk, Where, one_of
from vestibule.provider.defaults import complete
from vestibule.provider.definition import Call, Definition, Oidc
from vestibule.provider.hosts import url_problem
from vestibule.provider.pattern import Pattern
from vestibule.provider.refused import refusals
from vestibule.provider.template import BadTemplate, Template, Unrenderable
from vestibule.provider.urls import endpoint_problem, is_loopback

MAX_CALLS = 12
MAX_PAGINATED_CALLS = 4
MAX_EXCHANGES = 8
"""So that no conversation needs more requests than `outbound` makes for one."""


class DefinitionError(Exception):
    """All that is wrong with one provider."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, p.path))}: {p.message}" for p in problems))
        self.problems = problems


class Provider(Struct, frozen=True, kw_only=True):
    id: str
    definition: Definition
    client_id: str
    client_secret: Secret | None
    client_key: ClientKey | None = None
    params: Mapping[str, str]
    """The config's values and the definition's defaults."""
    captured: frozenset[str] = frozenset()
    """Parameters that a callback or a reply may set, because the config did not."""
    extra_scopes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.definition.title

    @property
    def pkce(self) -> bool:
        """Whether `start` and `redeem` want a verifier (RFC 7636)."""
        return self.definition.pkce != "off"

    @property
    def refreshes(self) -> bool:
        return self.definition.refresh != "none"

    @property
    def needs_refresh_token(self) -> bool:
        """False where the access token itself is what is renewed."""
        return self.definition.refresh != "none" and ("refresh_token",) in self.definition.refresh.paths()

    @property
    def refresh_early(self) -> int:
        """Seconds before expiry at which to refresh."""
        return 0 if self.definition.refresh == "none" else self.definition.refresh.early

    def scopes_for(self, chosen: Iterable[str]) -> tuple[str, ...]:
        """The definition's default and required scopes, the config's, then those of the chosen permissions."""
        scopes = self.definition.scopes
        return tuple(dict.fromkeys((*scopes.default, *scopes.required, *self.extra_scopes, *chosen)))

    def names(self) -> dict[str, Any]:
        """What every template can see. The secret is revealed here and nowhere else on this floor."""
        secret = self.client_secret.reveal() if self.client_secret else None
        names: dict[str, Any] = {"p": self.params, "client": {"id": self.client_id, "secret": secret}}
        halves = [half.text(names) for half in (self.definition.client.basic_user, self.definition.client.basic_pass)]
        basic = None if None in halves else base64.b64encode(":".join(map(str, halves)).encode()).decode()
        return {"p": self.params, "client": {**names["client"], "basic": basic}}

    def is_admins(self, path: tuple[str, ...]) -> bool:
        """Whether a template's path leads to what the config or discovery says, and not to a callback or a reply."""
        return path[0] in {"client", "d"} or (path[0] == "p" and path[1] not in self.captured)

    def issuer(self) -> re.Pattern[str] | None:
        """What the issuer may be; where it uses a claim, any one path segment. None for a provider without OIDC."""
        return None if self.definition.oidc is None else self.definition.oidc.issuer.pattern(self.names())

    def callback_issuer(self) -> re.Pattern[str] | None:
        """The same for `iss` in the callback (RFC 9207)."""
        return None if self.definition.callback.iss is None else self.definition.callback.iss.pattern(self.names())


def compile_provider(
    id: str,  # noqa: A002  # it is the provider's id
    raw: dict[str, Any],
    *,
    client_id: str,
    client_secret: Secret | None = None,
    client_key: Secret | None = None,
    params: Mapping[str, str] | None = None,
    extra_scopes: tuple[str, ...] = (),
    redirect_uri: str | None = None,
    state: str | None = None,
) -> Provider:
    """`raw` is the parsed YAML with `extends` already merged; `state` is one such as will be sent to it. Raises
    `DefinitionError` with every problem.
    """
    whole = complete(raw)
    walk = Walk(whole)
    definition = walk.read(whole, Definition, ())
    problems = walk.problems
    problems.extend(Problem(path, message) for path, message in refusals(whole))
    values = _parameters(whole.get("params"), params or {}, problems)
    signer = _client_key(whole, client_secret, client_key, problems)
    if isinstance(definition, Definition) and not problems:
        provider = Provider(
            id=id,
            definition=definition,
            client_id=client_id,
            client_secret=client_secret,
            client_key=signer,
            params=values,
            captured=frozenset(n for n, param in definition.params.items() if param.source and n not in (params or {})),
            extra_scopes=extra_scopes,
        )
        problems.extend(_consequences(provider))
        problems.extend(_registration(definition, redirect_uri, state))
        if not problems:
            return provider
    raise DefinitionError(_told_once(problems, raw))


_INHERITED: tuple[tuple[Where, Where], ...] = ((("refresh",), ("token",)), (("callback", "iss"), ("oidc", "issuer")))


def _told_once(problems: list[Problem], raw: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with something that is inherited is told once, in the place where it was written."""
    places = {problem.path for problem in problems}

    def inherited(path: Where) -> bool:
        return any(
            path[: len(heir)] == heir and (*source, *path[len(heir) :]) in places and not _is_written(raw, path)
            for heir, source in _INHERITED
        )

    return [problem for problem in problems if not inherited(problem.path)]


def _is_written(raw: Any, path: Where) -> bool:
    for step in path:
        if not isinstance(raw, dict) or step not in raw:
            return False
        raw = raw[step]
    return True


def _client_key(
    whole: Mapping[str, Any], secret: Secret | None, key: Secret | None, problems: list[Problem]
) -> ClientKey | None:
    """What the client authenticates with must be there, and fit."""
    client = whole.get("client")
    jwt = client.get("jwt") if isinstance(client, dict) else None
    alg = jwt.get("alg") if isinstance(jwt, dict) else None
    by_secret = isinstance(alg, str) and alg.startswith("HS")
    if not secret and (by_secret or _auths(whole) & {"post", "basic"}):
        problems.append(Problem(("client", "secret"), "this provider needs a client secret", "config"))
    material = secret if by_secret else key
    if not isinstance(alg, str) or (by_secret and not material):
        return None
    if not material:
        problems.append(Problem(("client", "key"), "this provider needs a private key in PEM", "config"))
        return None
    try:
        return ClientKey(alg, material)
    except BadKey as error:
        problems.append(Problem(("client", "secret" if by_secret else "key"), f"not {error}", "config"))
    except KeyError:
        pass  # the walk has reported the algorithm
    return None


def _auths(whole: Mapping[str, Any]) -> set[Any]:
    made = [whole.get("token"), whole.get("refresh"), whole.get("revoke")]
    for section, name in (("identity", "calls"), ("authorize", "par")):
        inner = whole.get(section)
        inner = inner.get(name) if isinstance(inner, dict) else None
        made += [inner] if name == "par" else inner.values() if isinstance(inner, dict) else ()
    exchange = whole.get("exchange")
    made += exchange.values() if isinstance(exchange, dict) else ()
    return {auth for call in made if isinstance(call, dict) and isinstance(auth := call.get("auth"), str)}


def _parameters(declared: Any, given: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    declared = declared if isinstance(declared, dict) else {}
    problems.extend(
        Problem(("params", name), f"unknown parameter; expected {one_of(declared)}", "config")
        for name in given
        if name not in declared
    )
    values: dict[str, str] = {}
    for name, param in declared.items():
        if not isinstance(param, dict):
            continue
        value = given.get(name, param.get("default"))
        if value is None and param.get("required") and "from" not in param:
            problems.append(Problem(("params", name), "this parameter is required", "config"))
        if not isinstance(value, str):
            continue
        values[name] = value
        try:
            fits = "pattern" not in param or Pattern(param["pattern"]).matches(value)
        except BadTemplate:
            continue  # the walk has reported it
        if not fits:
            message = f"does not match {param['pattern']}"
            in_config = name in given
            path: Where = ("params", name) if in_config else ("params", name, "default")
            problems.append(Problem(path, message, "config" if in_config else "definition"))
    return values


def _consequences(provider: Provider) -> Iterator[Problem]:
    """What no single value shows."""
    definition = provider.definition
    for name, param in definition.params.items():
        if param.source is not None and param.pattern is None:
            message = (
                "a value that does not come from the config needs a pattern: it could choose where secrets are sent"
            )
            yield Problem(("params", name, "pattern"), message)
    made = list(_calls(definition))
    for path, call in made:
        bodies = [name for name, body in (("form", call.form), ("json", call.json), ("body", call.body)) if body]
        if len(bodies) > 1:
            yield Problem((*path, bodies[-1]), f"a call has one body: delete the other with `{bodies[0]}: null`")
        if call.method == "GET" and bodies:
            yield Problem((*path, "method"), "GET has no body")
        if ("client", "jwt") in call.paths() and definition.client.jwt is None:
            yield Problem(path, "`client.jwt` is used, and its section deleted")
    yield from _counts(definition)
    yield from _trust(provider)
    yield from _urls(provider, made)


def _trust(provider: Provider) -> Iterator[Problem]:
    """Who is believed is decided by the admin (OIDC Core §3.1.3.7, RFC 9207 §2.4)."""
    oidc, callback = provider.definition.oidc, provider.definition.callback
    believed: list[tuple[Where, Template | None]] = [(("callback", "iss"), callback.iss)]
    if oidc is not None:
        names = ("issuer", "discovery", "jwks", "audience")
        believed += [(("oidc", name), getattr(oidc, name)) for name in names]
    for path, template in believed:
        if template is not None and not _is_config(provider, template):
            yield Problem(path, "a callback or a reply must not choose who is believed: no parameter with `from` here")
    if oidc is not None and _is_off(oidc) and "id" in oidc.issuer.roots:
        message = "without discovery nothing says which issuers there are: `${id.…}` would let a token choose its own"
        yield Problem(("oidc", "issuer"), message)


def _urls(provider: Provider, made: list[tuple[Where, Call]]) -> Iterator[Problem]:
    definition, oidc = provider.definition, provider.definition.oidc
    urls: tuple[tuple[Where, Template | None, bool], ...] = (
        (("authorize", "url"), definition.authorize.url, True),
        (("oidc", "issuer"), oidc.issuer if oidc is not None else None, True),
        (("oidc", "discovery"), None if oidc is None or _is_off(oidc) else oidc.discovery, True),
        (("oidc", "jwks"), oidc.jwks if oidc is not None else None, True),
        (("api", "base"), definition.api.base, False),
        *(((*path, "url"), call.url, path == ("token",) and _is_config(provider, call.url)) for path, call in made),
    )
    for path, url, needed in urls:
        if path[0] == "oidc" and url is not None and not _is_config(provider, url):
            continue  # `_trust` has told it
        if url is not None and (problem := _url_problem(provider, url, needed=needed)) is not None:
            yield Problem(path, problem)


def _counts(definition: Definition) -> Iterator[Problem]:
    calls = definition.identity.calls
    for path, count, most in (
        (("identity", "calls"), len(calls), MAX_CALLS),
        (("identity", "calls"), sum(call.paginate is not None for call in calls.values()), MAX_PAGINATED_CALLS),
        (("exchange",), len(definition.exchange), MAX_EXCHANGES),
    ):
        if count > most:
            yield Problem(path, f"at most {most} of these, and they are {count}")
    for name, call in calls.items():
        rules = call.paginate
        if rules is not None and (
            (rules.by == "cursor" and not rules.next) or (rules.by == "page" and not rules.param)
        ):
            missing = "next" if rules.by == "cursor" else "param"
            yield Problem(("identity", "calls", name, "paginate"), f"`{missing}` is missing")


def _is_off(oidc: Oidc) -> bool:
    return oidc.discovery is not None and oidc.discovery.source == "off"


def _is_config(provider: Provider, url: Template) -> bool:
    """Whether it has to be known by now, because no callback can bring what is missing."""
    return not any(path[0] == "p" and path[1] in provider.captured for path in url.paths)


def _url_problem(provider: Provider, url: Template, *, needed: bool) -> str | None:
    names = provider.names()
    patterns = {name: provider.definition.params[name].pattern for name in provider.captured}
    try:
        text = url.text(names)
        if text is None and needed and all(path[0] in {"p", "client"} for path in url.paths):
            return "leads nowhere: one of its parameters has no value yet"
        # A URL that depends on discovery or on a reply is checked again when it is known, by the same function.
        if text is not None and (problem := endpoint_problem(text)):
            return f"{text} {problem}"
        if ("id",) in {path[:1] for path in url.paths}:
            return None  # an issuer, which is compared and not called
        if problem := url_problem(url, names, patterns):
            return f"it {problem}"
    except Unrenderable as error:
        return str(error)
    return None


def _registration(definition: Definition, redirect_uri: str | None, state: str | None) -> Iterator[Problem]:
    """What the provider would refuse at every login."""
    parts = urlsplit(redirect_uri or "")
    host = parts.hostname or ""
    if redirect_uri is not None and definition.redirect.https_only and parts.scheme != "https":
        yield Problem((), "this provider takes https redirect URIs only; expected a public_url with https", "config")
    if redirect_uri is not None and not definition.redirect.loopback and (is_loopback(host) or _is_address(host)):
        message = (
            "this provider takes neither localhost nor IP addresses in redirect URIs; expected a public_url with a name"
        )
        yield Problem((), message, "config")
    rules = definition.state
    if state is not None and rules.max is not None and len(state) > rules.max:
        yield Problem(
            ("state", "max"), f"a signed state has {len(state)} characters here, so this provider cannot be used"
        )
    if state is not None and rules.pattern is not None and not rules.pattern.matches(state):
        message = "a signed state holds letters, digits, `-`, `_` and `.`, so this provider cannot be used"
        yield Problem(("state", "pattern"), message)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _calls(definition: Definition) -> Iterator[tuple[Where, Call]]:
    if definition.authorize.par is not None:
        yield ("authorize", "par"), definition.authorize.par
    yield ("token",), definition.token
    for name, exchange in definition.exchange.items():
        yield ("exchange", name), exchange
    if definition.refresh != "none":
        yield ("refresh",), definition.refresh
    if definition.revoke is not None:
        yield ("revoke",), definition.revoke
    for name, call in definition.identity.calls.items():
        yield ("identity", "calls", name), call
