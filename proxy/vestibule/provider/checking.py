"""Reading a completed definition: types and names, every problem at once, each with the path of what has to be changed.

msgspec checks single values; the walk over sections is ours, because msgspec stops at the first problem and hides
dictionary keys in its paths. On the way each template and expression is asked which names it uses, and `_names_at`
knows which exist at that place: a misspelt `${p.bsae}` or `usr.id` is an error at load, not a null at login.
"""

import re
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from vestibule.provider.definition import IdentityCall
from vestibule.provider.expression import Expression
from vestibule.provider.pattern import Pattern
from vestibule.provider.refused import refusal_of_key
from vestibule.provider.template import Json, Template

Where = tuple[str | int, ...]


class Problem(Struct, frozen=True):
    path: Where
    message: str
    source: Literal["definition", "config"] = "definition"
    """Which file the path is of: the definition, or the provider's entry in the config."""


# --- which names exist where -----------------------------------------------------------------------------------------

_CLIENT = frozenset({"id", "secret", "basic", "jwt"})
_EVERYWHERE = frozenset({"p", "client", "d", "now", "uuid"})
_REPLIES = frozenset({"p", "d", "t", "x", "id", "scopes"})
_NAMES: dict[Where, frozenset[str]] = {
    ("params",): frozenset({"cb", "t", "x"}),
    ("oidc", "issuer"): frozenset({"p", "id"}),
    ("oidc", "discovery"): frozenset({"p"}),
    ("oidc", "jwks"): frozenset({"p", "d"}),
    ("oidc", "audience"): frozenset({"p", "client"}),
    ("client",): frozenset({"p", "client"}),
    ("client", "jwt"): frozenset({"p", "client", "d"}),
    ("authorize",): _EVERYWHERE | {"redirect_uri", "state", "nonce", "scope", "challenge", "challenge_method"},
    ("callback", "iss"): frozenset({"p", "id"}),
    ("callback", "verify"): frozenset({"p", "client"}),
    ("token",): _EVERYWHERE | {"code", "redirect_uri", "verifier", "scope"},
    ("exchange",): _EVERYWHERE | {"t", "x", "scopes", "access_token", "refresh_token", "redirect_uri", "scope"},
    ("refresh",): _EVERYWHERE | {"refresh_token", "access_token", "redirect_uri", "scope"},
    ("revoke",): _EVERYWHERE | {"refresh_token", "access_token"},
    ("identity", "calls"): _EVERYWHERE | _REPLIES | {"access_token"},
    ("identity",): _REPLIES,
    ("identity", "map", "name"): _REPLIES | {"cb"},
    ("identity", "map", "picture"): _REPLIES | {"cb"},
    ("api",): frozenset({"p", "client", "access_token"}),
}
"""p parameters · client id, secret, basic, jwt · d discovery · cb callback · t token reply · x exchange results · id
verified claims · scopes those granted; and inside `identity` the document of each call, by its name.

`cb` went through the browser, so it can say how somebody wants to be called, and nothing that anything hangs on."""

RESERVED = frozenset[str]().union(*_NAMES.values())
_NO_DOCUMENTS = frozenset({"client", "access_token", "refresh_token", "code", "verifier"})
"""Expressions cannot read these into an identity or a parameter."""
_OF_THE_REPLY = frozenset({"err", "out", "paginate"})
"""Expressions there read the reply itself, whose fields only the provider knows."""


class Walk:
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
        struct, leaf = _arms(kind)
        if struct is not None and (isinstance(data, dict) or leaf is None):
            return self._struct(data, struct, path)
        if get_origin(kind) is dict:
            return self._mapping(data, get_args(kind)[1], path)
        try:
            value = msgspec.convert(data, leaf, dec_hook=_compiled)
        except msgspec.ValidationError as error:
            return self.problem(path, str(error))
        if isinstance(value, Template | Json):
            self._check_paths(value, path)
        if isinstance(value, Expression):
            self._check_roots(value, path)
        return value

    def _struct(self, data: Any, kind: type[Struct], path: Where) -> Any:
        if not isinstance(data, dict):
            return self.problem(path, f"Expected `object`, got `{type(data).__name__}`")
        before = len(self.problems)
        fields = _fields(kind)
        for key, value in data.items():
            if key not in fields:
                message = refusal_of_key(str(key), value) or f"unknown key; expected {one_of(fields)}"
                self.problem((*path, key), message)
        for name, field in fields.items():
            if name not in data and field.required:
                self.problem(path, f"`{name}` is missing")
        values = {
            field.name: self.read(data[name], field.type, (*path, name))
            for name, field in fields.items()
            if name in data
        }
        return kind(**values) if len(self.problems) == before else None

    def _mapping(self, data: Any, kind: Any, path: Where) -> Any:
        if not isinstance(data, dict):
            return self.problem(path, f"Expected `object`, got `{type(data).__name__}`")
        for key in data:
            if problem := _key_problem(key, kind, path):
                self.problem((*path, key), problem)
        return {key: self.read(value, kind, (*path, key)) for key, value in data.items()}

    def _check_roots(self, value: Expression, path: Where) -> None:
        if path[-1] == "ok" or path[-2] in _OF_THE_REPLY:
            return
        known = self._names_at(path) - _NO_DOCUMENTS
        for name in sorted(value.roots - known):
            self.problem(path, f"unknown name `{name}`; here are {', '.join(sorted(known))}")

    def _check_paths(self, value: Template | Json, path: Where) -> None:
        known = self._names_at(path)
        client = _CLIENT if path[0] != "client" else frozenset({"id", "secret"})
        for root, *rest in sorted(value.paths):
            if root not in known:
                self.problem(path, f"unknown name `{root}`; here are {', '.join(sorted(known))}")
            elif root == "p" and (len(rest) != 1 or rest[0] not in self._params):
                self.problem(path, f"unknown parameter `{'.'.join(rest)}`; expected {one_of(self._params)}")
            elif root == "client" and (len(rest) != 1 or rest[0] not in client):
                self.problem(path, f"unknown `client.{'.'.join(rest)}`; expected {one_of(client)}")
        shown = {step for root, *rest in value.shown_paths if root == "client" for step in rest}
        if path[0] == "api" and shown - {"id"}:
            self.problem(path, "an API is not shown the client secret, unless as the key of an HMAC")
        if path[0] == "authorize" and path[1] != "par" and shown - {"id"}:
            # The URL stays in the browser's history and in the provider's logs (RFC 9700 §4.3); PAR is sent by us.
            self.problem(path, "a browser is not shown the client secret, unless as the key of an HMAC")

    def _names_at(self, path: Where) -> frozenset[str]:
        known = next((_NAMES[path[:n]] for n in (3, 2, 1) if path[:n] in _NAMES), frozenset[str]())
        if path[:1] == ("identity",):
            # A call sees the documents of the calls before it; `map` and `allow` see all.
            made = self._calls.index(path[2]) if path[:2] == ("identity", "calls") else len(self._calls)
            # OIDC's default map asks `userinfo` first; where a definition deletes that call, it is null.
            known |= frozenset((*self._calls[:made], *(("userinfo",) if self._oidc and path[1] != "calls" else ())))
        return known if self._oidc else known - {"d", "id"}


_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OF_THE_CONNECTION = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""RFC 9110 §7.6.1, and what says where a message goes and where it ends: with two opinions on that it is smuggled."""


def _key_problem(key: Any, kind: Any, path: Where) -> str | None:
    if not isinstance(key, str):
        return "a key must be text"
    if path[-1] in {"headers", "header"} and not _HEADER.fullmatch(key):
        return "not a header name (RFC 9110 §5.1)"
    if path[-1] in {"headers", "header"} and key.lower() in _OF_THE_CONNECTION:
        return "a header of the connection (RFC 9110 §7.6.1), which the gateway writes itself"
    if path in {("params",), ("exchange",), ("identity", "calls")} and not _NAME.fullmatch(key):
        return "a name is lower-case letters, digits and _"
    if kind is IdentityCall and key in RESERVED:
        return "this name is taken by another document"
    return None


# The types are the same for every definition, and so are most templates: the defaults. Reading them once is what keeps
# the loading of hundreds of definitions short.


@cache
def _fields(kind: type[Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


@cache
def _arms(kind: Any) -> tuple[type[Struct] | None, Any]:
    """The section and the leaf among the alternatives of a type."""
    arms = get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)
    struct = next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, Struct)), None)
    leaves = tuple(arm for arm in arms if arm is not struct)
    return struct, Union[leaves] if leaves else None  # noqa: UP007  # built at run time


def _compiled(kind: type, data: object) -> Any:
    if kind not in {Template, Expression, Pattern, Json}:
        raise NotImplementedError(kind)
    return _shared(kind, data) if isinstance(data, str) else kind(data)


@lru_cache(maxsize=4096)
def _shared(kind: Callable[[str], Any], source: str) -> Any:
    return kind(source)


def one_of(names: Iterable[str]) -> str:
    return ("one of " + ", ".join(sorted(map(str, names)))) if names else "none"
