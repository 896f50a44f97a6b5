"""From a definition and the admin's values to a `Provider`: an immutable object about which nothing is left to find out
at a user's login. Every problem is reported at once, each with the path of what has to be changed.

msgspec checks single values; the walk over sections is ours, because msgspec stops at the first problem and hides
dictionary keys in its paths. On the way each template and expression is asked which names it uses, and `_names_at`
knows which exist at that place: a misspelt `${p.bsae}` or `usr.id` is an error at load, not a null at login.
"""

import base64
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import quote_plus

import msgspec
from msgspec import Struct

from vestibule.model import Secret
from vestibule.provider.definition import Call, Definition, IdentityCall, Pattern, complete
from vestibule.provider.template import BadTemplate, Expression, Template, Unrenderable
from vestibule.provider.urls import endpoint_problem

Where = tuple[str | int, ...]


class Problem(Struct, frozen=True):
    path: Where
    message: str
    source: Literal["definition", "config"] = "definition"
    """Which file the path is of: the definition, or the provider's entry in the config."""


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
    params: Mapping[str, str]
    extra_scopes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.definition.title

    @property
    def pkce(self) -> bool:
        """Whether `start` and `redeem` want a verifier (RFC 7636)."""
        return self.definition.pkce == "S256"

    @property
    def refreshes(self) -> bool:
        return self.definition.refresh != "none"

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
        # RFC 6749 §2.3.1: both halves are form-encoded first, so that a colon in an id does not move the boundary.
        basic = None if secret is None else f"{quote_plus(self.client_id)}:{quote_plus(secret)}"
        client = {
            "id": self.client_id,
            "secret": secret,
            "basic": None if basic is None else base64.b64encode(basic.encode()).decode(),
        }
        return {"p": self.params, "client": client}

    def issuer(self) -> re.Pattern[str] | None:
        """What the issuer may be; where it uses a claim, any one path segment. None for a provider without OIDC."""
        return None if self.definition.oidc is None else self.definition.oidc.issuer.pattern(self.names())


def compile_provider(
    id: str,  # noqa: A002  # it is the provider's id
    raw: dict[str, Any],
    *,
    client_id: str,
    client_secret: Secret | None = None,
    params: Mapping[str, str] | None = None,
    extra_scopes: tuple[str, ...] = (),
) -> Provider:
    """`raw` is the parsed YAML with `extends` already merged. Raises `DefinitionError` with every problem."""
    whole = complete(raw)
    walk = _Walk(whole)
    definition = walk.read(whole, Definition, ())
    problems = walk.problems
    values = _parameters(whole.get("params"), params or {}, problems)
    if not client_secret and _auths(whole) & {"post", "basic"}:
        problems.append(Problem(("client", "secret"), "this provider needs a client secret", "config"))
    if isinstance(definition, Definition) and not problems:
        provider = Provider(
            id=id,
            definition=definition,
            client_id=client_id,
            client_secret=client_secret,
            params=values,
            extra_scopes=extra_scopes,
        )
        problems.extend(_consequences(provider))
        if not problems:
            return provider
    raise DefinitionError(_told_once(problems, raw))


def _told_once(problems: list[Problem], raw: Mapping[str, Any]) -> list[Problem]:
    """`refresh` inherits from `token`: what is wrong there is told once, in the place where it was written."""
    places = {problem.path for problem in problems}
    return [
        p
        for p in problems
        if p.path[:1] != ("refresh",) or ("token", *p.path[1:]) not in places or _is_written(raw, p.path)
    ]


def _is_written(raw: Any, path: Where) -> bool:
    for step in path:
        if not isinstance(raw, dict) or step not in raw:
            return False
        raw = raw[step]
    return True


def _auths(whole: Mapping[str, Any]) -> set[Any]:
    identity = whole.get("identity")
    calls = identity.get("calls") if isinstance(identity, dict) else None
    made = [whole.get("token"), whole.get("refresh"), whole.get("revoke")]
    made += calls.values() if isinstance(calls, dict) else ()
    return {auth for call in made if isinstance(call, dict) and isinstance(auth := call.get("auth"), str)}


def _parameters(declared: Any, given: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    declared = declared if isinstance(declared, dict) else {}
    problems.extend(
        Problem(("params", name), f"unknown parameter; expected {_one_of(declared)}", "config")
        for name in given
        if name not in declared
    )
    values: dict[str, str] = {}
    for name, param in declared.items():
        if not isinstance(param, dict):
            continue
        value = given.get(name, param.get("default"))
        if value is None and param.get("required"):
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


def _consequences(provider: Provider) -> Iterable[Problem]:
    """What no single value shows: a call with two bodies, a body on GET, a URL that must not be called."""
    definition, names = provider.definition, provider.names()
    urls: list[tuple[Where, Template]] = [(("authorize", "url"), definition.authorize.url)]
    if definition.oidc is not None:
        urls.append((("oidc", "issuer"), definition.oidc.issuer))
        if definition.oidc.discovery is not None:
            urls.append((("oidc", "discovery"), definition.oidc.discovery))
    for path, call in _calls(definition):
        urls.append(((*path, "url"), call.url))
        if call.form and call.json:
            yield Problem((*path, "json"), "a call has one body: delete the other with `form: null`")
        if call.method == "GET" and (call.form or call.json):
            yield Problem((*path, "method"), "GET has no body")
    for path, url in urls:
        try:
            text = url.text(names)
        except Unrenderable as error:
            yield Problem(path, str(error))
            continue
        # A URL that depends on discovery or on a reply is checked when it is known, by the same function.
        if text is not None and (problem := endpoint_problem(text)):
            yield Problem(path, f"{text} {problem}")


def _calls(definition: Definition) -> Iterable[tuple[Where, Call]]:
    yield ("token",), definition.token
    if definition.refresh != "none":
        yield ("refresh",), definition.refresh
    if definition.revoke is not None:
        yield ("revoke",), definition.revoke
    for name, call in definition.identity.calls.items():
        yield ("identity", "calls", name), call


# --- which names exist where -----------------------------------------------------------------------------------------

_CLIENT = frozenset({"id", "secret", "basic"})
_AROUND = frozenset({"p", "client", "d"})
_REPLIES = frozenset({"p", "d", "t", "id", "scopes"})
_NAMES: dict[Where, frozenset[str]] = {
    ("oidc", "issuer"): frozenset({"p", "id"}),
    ("oidc", "discovery"): frozenset({"p"}),
    ("oidc", "audience"): frozenset({"p", "client"}),
    ("authorize",): _AROUND | {"redirect_uri", "state", "nonce", "scope", "challenge", "challenge_method"},
    ("token",): _AROUND | {"code", "redirect_uri", "verifier"},
    ("refresh",): _AROUND | {"refresh_token", "access_token", "scope"},
    ("revoke",): _AROUND | {"refresh_token", "access_token"},
    ("identity", "calls"): _AROUND | _REPLIES | {"access_token"},
    ("identity",): _REPLIES,
    ("api",): frozenset({"p", "access_token"}),
}
"""p parameters · client id, secret, basic · d discovery · t token reply · id verified claims · scopes those granted;
and inside `identity` the document of each call, by its name."""

RESERVED = frozenset[str]().union(*_NAMES.values())
_OF_THE_REPLY = frozenset({"ok", "err", "out"})
"""Expressions there read the reply itself, whose fields only the provider knows."""


class _Walk:
    """One pass over a completed definition that collects problems and builds Structs where there are none."""

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self.problems: list[Problem] = []
        params, identity = whole.get("params"), whole.get("identity")
        calls = identity.get("calls") if isinstance(identity, dict) else None
        self._params = frozenset(params) if isinstance(params, dict) else frozenset[str]()
        self._calls = tuple(calls) if isinstance(calls, dict) else ()
        self._oidc = isinstance(whole.get("oidc"), dict)

    def problem(self, path: Where, message: str) -> None:
        self.problems.append(Problem(path, message))

    def read(self, data: Any, kind: Any, path: Where) -> Any:
        arms = get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)
        struct = next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, Struct)), None)
        if struct is not None and (isinstance(data, dict) or len(arms) == 1):
            return self._struct(data, struct, path)
        if get_origin(kind) is dict:
            return self._mapping(data, get_args(kind)[1], path)
        leaves = tuple(arm for arm in arms if arm is not struct)
        try:
            value = msgspec.convert(data, Union[leaves], dec_hook=_compiled)  # noqa: UP007  # built at run time
        except msgspec.ValidationError as error:
            return self.problem(path, str(error))
        if isinstance(value, Template | Expression):
            self._check_names(value, path)
        return value

    def _struct(self, data: Any, kind: type[Struct], path: Where) -> Any:
        if not isinstance(data, dict):
            return self.problem(path, f"Expected `object`, got `{type(data).__name__}`")
        before = len(self.problems)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        for key in data:
            if key not in fields:
                self.problem((*path, key), f"unknown key; expected {_one_of(fields)}")
        for name, field in fields.items():
            if name not in data and field.required:
                self.problem(path, f"`{name}` is missing")
        values = {
            name: self.read(data[name], field.type, (*path, name)) for name, field in fields.items() if name in data
        }
        return kind(**values) if len(self.problems) == before else None

    def _mapping(self, data: Any, kind: Any, path: Where) -> Any:
        if not isinstance(data, dict):
            return self.problem(path, f"Expected `object`, got `{type(data).__name__}`")
        for key in data:
            if problem := _key_problem(key, kind, path):
                self.problem((*path, key), problem)
        return {key: self.read(value, kind, (*path, key)) for key, value in data.items()}

    def _check_names(self, value: Template | Expression, path: Where) -> None:
        if isinstance(value, Expression):
            if not _OF_THE_REPLY.intersection(path):
                for name in sorted(value.roots - (known := self._names_at(path))):
                    self.problem(path, f"unknown name `{name}`; here are {', '.join(sorted(known))}")
            return
        known = self._names_at(path)
        for root, *rest in sorted(value.paths):
            if root not in known:
                self.problem(path, f"unknown name `{root}`; here are {', '.join(sorted(known))}")
            elif root == "p" and (len(rest) != 1 or rest[0] not in self._params):
                self.problem(path, f"unknown parameter `{'.'.join(rest)}`; expected {_one_of(self._params)}")
            elif root == "client" and (len(rest) != 1 or rest[0] not in _CLIENT):
                self.problem(path, f"unknown `client.{'.'.join(rest)}`; expected {_one_of(_CLIENT)}")

    def _names_at(self, path: Where) -> frozenset[str]:
        known = next((_NAMES[path[:n]] for n in (2, 1) if path[:n] in _NAMES), frozenset[str]())
        if path[:1] == ("identity",):
            # A call sees the documents of the calls before it; `map` and `allow` see all.
            made = self._calls.index(path[2]) if path[:2] == ("identity", "calls") else len(self._calls)
            known |= frozenset(self._calls[:made])
        return known if self._oidc else known - {"d", "id"}


_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def _key_problem(key: Any, kind: Any, path: Where) -> str | None:
    if not isinstance(key, str):
        return "a key must be text"
    if path[-1] in {"headers", "header"} and not _HEADER.fullmatch(key):
        return "not a header name (RFC 9110 §5.1)"
    if path[-1] in {"params", "calls"} and not _NAME.fullmatch(key):
        return "a name is lower-case letters, digits and _"
    if kind is IdentityCall and key in RESERVED:
        return "this name is taken by another document"
    return None


def _compiled(kind: type, data: object) -> Any:
    if kind in {Template, Expression, Pattern}:
        return kind(data)
    raise NotImplementedError(kind)


def _one_of(names: Iterable[str]) -> str:
    return ("one of " + ", ".join(sorted(map(str, names)))) if names else "none"
