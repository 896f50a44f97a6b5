"""A provider out of thin air: it answers each request of a definition with a document that holds what the definition
reads, under the names that the definition reads it by. So the real conversations run to their end without a network,
and what they send can be looked at.

Placeholders are upper case (`CLIENT_ID`); what the provider would tell at run time is an address below
`DISCOVERED`, so that it can be told apart afterwards.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, structs

from vestibule.crypto.jose import IdentityKeys
from vestibule.crypto.pairs import private_key
from vestibule.model import HttpCall, HttpReply, Secret
from vestibule.provider.defaults import complete
from vestibule.provider.definition import Definition, Err, HopOut, IdentityMap, Param, Refresh, Step, TokenCall
from vestibule.provider.expression import Expression
from vestibule.provider.pattern import Chars, Pattern
from vestibule.provider.provider import Provider, compile_provider
from vestibule.provider.template import BadTemplate
from vestibule.tools.expressions import grown, planted
from vestibule.tools.labels import C, calls, changed, labelled

NOW = 1_000_000_000
UUID = "00000000-0000-4000-8000-000000000000"
DISCOVERED = "https://discovered.invalid/"
VERIFIER = "CODE_VERIFIER"
_PERSON: dict[str, Any] = {
    "sub": "SUBJECT",
    "tenant": "TENANT",
    "email": "person@example.com",
    "email_verified": True,
    "name": "NAME",
    "login": "LOGIN",
    "picture": "https://example.com/picture",
    "groups": ["GROUP"],
}
_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "revocation_endpoint",
    "introspection_endpoint",
)
_NEVER = Err(code=Expression("`null`"))
_LONGEST_RUN = 128


class Unknown(Exception):
    """A parameter for which no value could be made up; its name and its pattern."""


def invented_provider(name: str, raw: Mapping[str, Any], params: Mapping[str, str]) -> Provider:
    """Raises DefinitionError, and Unknown for a parameter that only a person can give."""
    declared = complete(raw).get("params")
    values = dict(params)
    for key, param in declared.items() if isinstance(declared, dict) else ():
        if key not in values and isinstance(param, dict) and "default" not in param and "from" not in param:
            values[key] = _value_for(key, param.get("pattern"))
    jwt = _section(_section(complete(raw), "client"), "jwt")
    return compile_provider(
        name,
        dict(raw),
        client_id="CLIENT_ID",
        client_secret=Secret("CLIENT_SECRET"),
        client_key=private_key(str(jwt.get("alg"))) if jwt else None,
        params=values,
    )


def _section(document: Any, key: str) -> dict[str, Any]:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}


def _value_for(name: str, source: object) -> str:
    try:
        pattern = None if source is None else Pattern(source)
    except BadTemplate:
        return name.upper()  # compiling the definition reports it
    host = name.replace("_", "-")
    candidates = (name.upper(), host, f"https://{host}.example.com")
    found = next((text for text in candidates if pattern is None or pattern.matches(text)), None)
    if found is None and pattern is not None:
        found = example(pattern, name)
    if found is None:
        raise Unknown(name, str(source))
    return found


def example(pattern: Pattern, name: str) -> str | None:
    """A text that the pattern admits, as readable as it can be."""
    plain = re.sub(r"[^A-Za-z0-9]", "", name)
    words = (name, name.replace("_", "-"), plain, plain.upper())
    fills = [_Word(word) for word in words] + [_Repeated(length) for length in range(1, _LONGEST_RUN)]
    for form in pattern.forms() or ():
        for fill in fills:
            text = "".join(part if isinstance(part, str) else fill(part.chars) for part in form)
            if pattern.matches(text):
                return text
    return None


class _Word(Struct, frozen=True):
    word: str

    def __call__(self, chars: Chars) -> str:
        """Nothing where it does not fit, and then the pattern mostly does not match."""
        return self.word if all(char in chars for char in self.word) else ""


class _Repeated(Struct, frozen=True):
    length: int

    def __call__(self, chars: Chars) -> str:
        readable = (char for char in "xX0a_" if char in chars)
        return next(readable, next(iter(sorted(chars.ascii)), "")) * self.length


# --- the provider that answers ---------------------------------------------------------------------------------------


def lenient(provider: Provider) -> Provider:
    """For a walk on paper: every conditional call is made and no answer is an error. What is sent stays the same."""
    definition = changed(provider.definition, _without_conditions)
    oidc = definition.oidc
    definition = structs.replace(
        definition,
        callback=structs.replace(definition.callback, verify=None),
        oidc=None if oidc is None else structs.replace(oidc, algs=("ES256",)),
        identity=structs.replace(definition.identity, allow=None),
    )
    return labelled(structs.replace(provider, definition=definition))


def _without_conditions(label: str, call: C) -> C:
    call = structs.replace(call, ok=None, err=_NEVER)
    if isinstance(call, Step) and label != "par":  # whether requests are pushed is no detail: it changes the redirect
        call = structs.replace(call, when=None)
    return call


class Invention:
    """Answers for one walk through `lenient(provider)`."""

    def __init__(self, provider: Provider, scopes: tuple[str, ...]) -> None:
        self._definition = provider.definition
        self._scopes = scopes
        self._keys = IdentityKeys([Secret("explained")])
        self._documents = _documents(provider)
        self._names = {**provider.names(), "id": self._documents.get("id", {})}
        self._pages: set[str] = set()
        oidc = provider.definition.oidc
        self.issuer = None if oidc is None else oidc.issuer.text(self._names)

    def callback(self) -> dict[str, str]:
        rules = self._definition.callback
        captured = {str(name): str(value) for name, value in _section(self._documents, "cb").items()}
        return {rules.code: "CODE", rules.state: "STATE"} | captured

    def reply(self, label: str, call: HttpCall) -> HttpReply:
        kind, _, name = label.partition(".")
        document: Any = {}
        match kind:
            case "metadata":
                document = self._keys.jwks() if "jwks" in call.url else self._metadata()
            case "par":
                document = {"request_uri": "REQUEST_URI", "expires_in": 60}
            case "token" | "refresh":
                section = self._definition.token if kind == "token" else self._definition.refresh
                document = self._token_reply(section) if isinstance(section, TokenCall) else {}
            case "exchange":
                document = grown(self._hop(name), _section(self._documents, "x").get(name))
            case "identity":
                document = self._identity_reply(name, label)
        headers = {"content-type": "application/json"}
        return HttpReply(status=200, headers=headers, body=msgspec.json.encode({} if document is None else document))

    def _metadata(self) -> dict[str, Any]:
        used = {path[1] for _, call in calls(self._definition) for path in call.paths() if path[0] == "d" and path[1:]}
        endpoints = {name: DISCOVERED + name for name in (*_ENDPOINTS, *used)}
        return {"issuer": self.issuer, "scopes_supported": list(self._definition.scopes.offline), **endpoints}

    def _token_reply(self, section: TokenCall) -> Any:
        document = _tokens_in(section.out, "", self._scopes)
        if self._definition.oidc is not None and section.out.id_token is not None and not isinstance(section, Refresh):
            document = planted(section.out.id_token, self._id_token(), document)
        return grown(document, self._documents.get("t"))

    def _id_token(self) -> str:
        oidc = self._definition.oidc
        audience = oidc.audience.text(self._names) if oidc else None
        claims = {"iss": self.issuer, "aud": audience, "iat": NOW, "exp": NOW + 3600, "nonce": "NONCE"}
        return self._keys.sign({"sub": _PERSON["sub"], **_section(self._documents, "id"), **claims})

    def _hop(self, name: str) -> Any:
        out = self._definition.exchange[name].out
        return None if out is None else _tokens_in(out, f"{name.upper()}_", ())

    def _identity_reply(self, name: str, label: str) -> Any:
        document = self._documents.get(name)
        if name == "userinfo" and self._definition.oidc is not None:
            document = grown({"sub": _section(self._documents, "id").get("sub", _PERSON["sub"])}, document)
        paginate = self._definition.identity.calls[name].paginate
        if paginate is None:
            return document
        items = [] if label in self._pages else document if isinstance(document, list) else [document or {}]
        self._pages.add(label)
        page = planted(paginate.items, items)
        return page if paginate.items(page) == items else items


def _tokens_in(out: HopOut, prefix: str, scopes: tuple[str, ...]) -> Any:
    values: dict[str, Any] = {"access_token": f"{prefix}ACCESS_TOKEN", "expires_in": 3600}
    if not prefix:
        values |= {"refresh_token": "REFRESH_TOKEN", "scope": " ".join(scopes)}
    if out.expires_in is None:
        values |= {"expires_at": NOW + 3600}
    document: Any = {}
    for field, value in values.items():
        expression: Expression | None = getattr(out, field)
        if expression is not None:
            document = planted(expression, value, document)
    return document


def _documents(provider: Provider) -> dict[str, Any]:
    """What the definition's expressions and templates look for, by the name of the document: t, x, id, cb, …"""
    definition = provider.definition
    found: Any = {}
    for path in sorted(_paths(definition)):
        if path[0] not in {"p", "d", "client"} and len(path) > 1:
            value: Any = "_".join(path).upper()
            for step in reversed(path):
                value = {step: value}
            found = grown(found, value)
    for name in sorted(provider.captured):
        found = _captured(name, definition.params[name], found)
    fields = structs.asdict(definition.identity.map)
    for name in (field for field in IdentityMap.__struct_fields__ if fields[field] is not None):
        found = planted(fields[name], _PERSON[name], found)
    return found if isinstance(found, dict) else {}


def _paths(definition: Definition) -> set[tuple[str, ...]]:
    paths = {path for _, call in calls(definition) for path in call.paths()}
    return paths | (set() if definition.oidc is None else set(definition.oidc.issuer.paths))


def _captured(name: str, param: Param, found: Any) -> Any:
    """The default stands for it, as it does where the provider does not send it."""
    if param.source is None or param.pattern is None or (param.default is not None and not param.required):
        return found
    value = example(param.pattern, name)
    if value is None:
        raise Unknown(name, param.pattern.source)
    return planted(param.source, value, found)
