"""The parts of `docs/providers.md` that the code says already: every key of the provider language, what each kind of
call sends by itself, and what is in the catalog.

Types and meanings are those of the Structs in `provider.definition`. Defaults are read off small definitions that
`defaults.complete` has filled in, because only there they are written: once without OpenID Connect and once with it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec import inspect as shapes

from vestibule import catalog
from vestibule.cli.quirks import needs, quirks
from vestibule.cli.schema import SHORT_FORMS, docstrings
from vestibule.conversion import expectation
from vestibule.provider import definition
from vestibule.provider.defaults import complete
from vestibule.provider.definition import Section
from vestibule.provider.expression import Expression
from vestibule.provider.pattern import Pattern
from vestibule.provider.template import Json, Template

Where = tuple[str, ...]

_SECTIONS: dict[type[Struct], tuple[str, Where]] = {
    definition.Definition: ("Top level", ()),
    definition.Param: ("`params.<name>`", ("params", "name")),
    definition.Oidc: ("`oidc`", ("oidc",)),
    definition.Client: ("`client`", ("client",)),
    definition.Jwt: ("`client.jwt`", ("client", "jwt")),
    definition.Scopes: ("`scopes`", ("scopes",)),
    definition.State: ("`state`", ("state",)),
    definition.Redirect: ("`redirect`", ("redirect",)),
    definition.Call: ("A call", ("token",)),
    definition.Step: ("A conditional call", ("exchange", "name")),
    definition.Err: ("`err`", ("token", "err")),
    definition.Authorize: ("`authorize`", ("authorize",)),
    definition.Callback: ("`callback`", ("callback",)),
    definition.Hmac: ("`callback.verify`", ("callback", "verify")),
    definition.TokenCall: ("`token`", ("token",)),
    definition.TokenOut: ("`token.out`", ("token", "out")),
    definition.Exchange: ("`exchange.<name>`", ("exchange", "name")),
    definition.HopOut: ("`exchange.<name>.out`", ("exchange", "name", "out")),
    definition.Refresh: ("`refresh`", ("refresh",)),
    definition.IdentitySection: ("`identity`", ("identity",)),
    definition.IdentityCall: ("`identity.calls.<name>`", ("identity", "calls", "name")),
    definition.Paginate: ("`identity.calls.<name>.paginate`", ("identity", "calls", "name", "paginate")),
    definition.IdentityMap: ("`identity.map`", ("identity", "map")),
    definition.Api: ("`api`", ("api",)),
}
"""Heading, and where in `_EMPTY` such a section is."""

_EMPTY: dict[str, Any] = {
    "authorize": {"par": {}},
    "token": {"url": "token.url"},
    "exchange": {"name": {}},
    "revoke": {"url": "revoke.url"},
    "identity": {"calls": {"name": {"paginate": {"by": "link"}}}},
}
_OIDC = _EMPTY | {"oidc": {"issuer": "oidc.issuer"}}
_SIGNING = ("private_key_jwt", "client_secret_jwt", "jwt_as_secret")

_CALLS: dict[str, Where] = {
    "`authorize.par`": ("authorize", "par"),
    "`token`": ("token",),
    "`exchange.<name>`": ("exchange", "name"),
    "`refresh`": ("refresh",),
    "`revoke`": ("revoke",),
    "`identity.calls.<name>`": ("identity", "calls", "name"),
}
_BY_CALL = frozenset({"method", "query", "form", "headers", "auth"})
"""Keys of a call whose default depends on which call it is."""
_PROBED = frozenset({"oidc", "issuer", "exchange", "revoke", "calls", "par", "paginate"})
"""They are in `_EMPTY` or `_OIDC` only so that what is in them is."""

_WORDS: dict[type, str] = {Template: "template", Expression: "JMESPath", Pattern: "pattern", Json: "templates, nested"}


# --- the keys ---------------------------------------------------------------------------------------------------------


def language_reference() -> str:
    """A table for each section."""
    notes = docstrings(definition)
    return "\n\n".join(_section(kind, notes) for kind in _SECTIONS)


def _section(kind: type[Struct], notes: Mapping[str, Mapping[str, str]]) -> str:
    heading, path = _SECTIONS[kind]
    lines = [f"### {heading}", ""]
    if kind.__doc__ and kind is not definition.Definition:
        lines += [" ".join(kind.__doc__.split()), ""]
    base = kind.__bases__[0]
    if base in _SECTIONS:
        lines += [f"All keys of {_link(base, _SECTIONS[base][0].replace('A ', 'a '))}, and:", ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in shapes.type_info(kind).fields:  # type: ignore[attr-defined]  # a Struct's
        if field.name in kind.__annotations__:
            short = (kind.__name__, field.encode_name) in SHORT_FORMS
            cells = (
                f"`{field.encode_name}`",
                _type(field.type) + (" or text" if short else ""),
                _default(kind, field, path),
                _meaning(kind, field, notes),
            )
            lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _link(kind: type[Struct], text: str) -> str:
    """As GitHub names headings."""
    return f"[{text}](#{re.sub(r'[^a-z0-9_ -]', '', _SECTIONS[kind][0].lower()).replace(' ', '-')})"


def _meaning(kind: type[Struct], field: shapes.Field, notes: Mapping[str, Mapping[str, str]]) -> str:
    """The text below the field, or else the first sentence about the section that it holds."""
    for base in kind.__mro__:
        if told := notes.get(base.__name__, {}).get(field.name):
            return told
    about = next((inner.cls.__doc__ or "" for inner in _inner(field.type)), "")
    return re.split(r"(?<=[.:])\s", " ".join(about.split()))[0].rstrip(":")


def _inner(info: shapes.Type) -> Iterator[shapes.StructType]:
    match info:
        case shapes.StructType():
            yield info
        case shapes.DictType():
            yield from _inner(info.value_type)
        case shapes.UnionType():
            for member in info.types:
                yield from _inner(member)


def _type(info: shapes.Type) -> str:  # noqa: PLR0911  # one line per kind of type
    match info:
        case shapes.IntType():
            return expectation(info)
        case shapes.Metadata():
            return _type(info.type)
        case shapes.StructType():
            return _link(info.cls, "section")
        case shapes.VarTupleType():
            return f"list of {_type(info.item_type)}"
        case shapes.DictType():
            return f"{_type(info.value_type)} by name"
        case shapes.UnionType():
            return " or ".join(_type(member) for member in info.types if not isinstance(member, shapes.NoneType))
        case shapes.LiteralType():
            return ", ".join(f"`{value}`" for value in info.values)
        case shapes.CustomType():
            return _WORDS[info.cls]
        case shapes.BoolType():
            return "`true`, `false`"
    return "text"


# --- the defaults -----------------------------------------------------------------------------------------------------


def _default(kind: type[Struct], field: shapes.Field, path: Where) -> str:
    name = field.encode_name
    if kind is definition.Call and name == "url":
        return "**required**; `refresh` has that of `token`; with `oidc`, those that discovery names"
    if kind is definition.Call and name in _BY_CALL:
        return "[by call](#what-calls-say-by-themselves)"
    if name in _PROBED:
        return _unset(field)
    variants = _variants(kind)
    values = [_at(complete(raw), (*path, name)) for raw in variants.values()]
    if any(_inner(field.type)):
        texts = [_unset(field) if value is None else "as below" for value in values]
    elif len(values) == len([value for value in values if isinstance(value, dict)]) > 1:
        more = {key: value for key, value in values[1].items() if key not in values[0]}
        texts = [_written(values[0]), f"also {_written(more)}" if more else _written(values[0])]
    else:
        texts = [_unset(field) if value is None else _written(value) for value in values]
    told: dict[str, list[str]] = {}
    for label, text in zip(variants, texts, strict=True):
        told.setdefault(text, []).append(label)
    if len(told) == 1:
        return texts[0]
    return "; ".join(f"{', '.join(labels)}: {text}".removeprefix(": ") for text, labels in told.items())


def _variants(kind: type[Struct]) -> dict[str, dict[str, Any]]:
    """What a default may depend on: a label, and a definition that has it."""
    if kind is definition.Oidc:
        return {"": _OIDC}
    if kind is definition.Jwt:
        return {f"`{auth}`": _EMPTY | {"client": {"auth": auth}} for auth in _SIGNING}
    return {"": _EMPTY, "with `oidc`": _OIDC}


def _unset(field: shapes.Field) -> str:
    if field.default is NODEFAULT and field.default_factory is NODEFAULT:
        return "**required**"
    default = field.default_factory() if field.default is NODEFAULT else field.default
    if isinstance(default, Section):
        return "as below"
    return _written(msgspec.to_builtins(default)) if default not in (None, (), {}, "") else "none"


def _written(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"`{name}: {inner}`" for name, inner in value.items()) or "none"
        case list() | tuple():
            return ", ".join(f"`{inner}`" for inner in value)
        case bool():
            return f"`{value}`".lower()
        case " ":
            return "a space"
    return f"`{value}`"


def _at(document: Any, path: Where) -> Any:
    for step in path:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def call_defaults() -> str:
    """What each kind of call sends before a definition says anything; credentials are those of `client.auth: post`."""
    whole = complete(_EMPTY)
    lines = ["| call | method | auth | parameters | headers |", "|---|---|---|---|---|"]
    for name, path in _CALLS.items():
        call = _at(whole, path)
        auth = "as `client.auth`" if call["auth"] == whole["client"]["auth"] else f"`{call['auth']}`"
        parameters = _written(call.get("form") or call.get("query") or {})
        lines.append(_row((name, f"`{call['method']}`", auth, parameters, _written(call["headers"]))))
    return "\n".join(lines)


# --- the catalog ------------------------------------------------------------------------------------------------------


def catalog_table() -> str:
    """What `providers list` shows."""
    lines = ["| name | title | needs | differs in |", "|---|---|---|---|"]
    for name in catalog.names():
        raw = complete(catalog.load(name, Path()).raw)
        needed = ", ".join(f"`{need}`" for need in needs(raw))
        link = f"[`{name}`](../providers/{name}.yaml)"
        lines.append(_row((link, str(raw.get("title", "")), needed, ", ".join(quirks(raw)))))
    return "\n".join(lines)
