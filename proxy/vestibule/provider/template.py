"""The small language that writes values; `expression` has the one that reads them.

A template is text with `${…}` in it:

    ${p.base}/oauth/token/        a dotted path into the documents at hand
    ${t.user.email ?? t.email}    the first that is not null
    ${client.id|urlencode}        filters, applied before ??; a closed list
    ${p.key|concat(':', p.pin)}   arguments are paths, 'text' or whole numbers

Null is contagious: a path that leads nowhere is null, a filter of null is null, a text with a null in it is null, and a
null parameter is not sent. So "Bearer None" cannot happen, and a parameter that only sometimes exists needs no flag.

Why not Jinja: this has no loops, no calls and no attributes, hence nothing to sandbox, and its cost is linear in its
values. Everything is compiled once, when the definition loads; a mistake is an error then, not at a user's login.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from typing import Any
from urllib.parse import quote

from msgspec import Struct

MAX_SOURCE_CHARS = 2_000
MAX_FILTERS = 8
"""Per value: base64 eight times over grows tenfold, no more."""
MAX_JSON_DEPTH = 8
MAX_RESULT_CHARS = 64_000
"""Longer than any URL, header or token; a reply of a megabyte must not become a header."""

Names = Mapping[str, Any]
"""The documents and scalars a template or expression can see at one place."""


class BadTemplate(ValueError):
    """A template or expression that cannot be compiled: an error of the definition, found when it loads."""


class Unrenderable(ValueError):
    """A value that cannot be written as text, or is too long: found when a call is built."""


_SURROGATE = re.compile("[\ud800-\udfff]")

# --- values ----------------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """JSON's spelling of booleans; objects and arrays have no text, `join` an array instead."""
    match value:
        case str():
            text = value
        case bool():
            text = "true" if value else "false"
        case int() if abs(value) < 1 << 64:
            text = str(value)
        case _:
            raise Unrenderable(f"a {type(value).__name__} cannot be written as text")
    if len(text) > MAX_RESULT_CHARS:
        raise Unrenderable("a value is too long")
    if not text.isascii() and _SURROGATE.search(text):
        raise Unrenderable("a value holds lone surrogates")  # JSON can spell them, UTF-8 cannot
    return text


def _bytes(value: Any) -> bytes:
    return text_of(value).encode()


def _join(value: Any, separator: Any) -> str:
    if not isinstance(value, list | tuple):
        raise Unrenderable("join needs an array")
    return text_of(separator).join(text_of(item) for item in value)


def _slice(value: Any, start: Any, end: Any = None) -> str:
    if not isinstance(start, int) or not isinstance(end, int | None):
        raise Unrenderable("slice needs whole numbers")
    return text_of(value)[start:end]


FILTERS: dict[str, tuple[Callable[..., str], int, int]] = {
    "base64": (lambda value: base64.b64encode(_bytes(value)).decode(), 0, 0),
    "base64url": (lambda value: base64.urlsafe_b64encode(_bytes(value)).decode().rstrip("="), 0, 0),
    "sha256_hex": (lambda value: hashlib.sha256(_bytes(value)).hexdigest(), 0, 0),
    "hmac_sha256_hex": (lambda value, key: hmac.new(_bytes(key), _bytes(value), "sha256").hexdigest(), 1, 1),
    "md5_hex": (lambda value: hashlib.md5(_bytes(value), usedforsecurity=False).hexdigest(), 0, 0),
    "urlencode": (lambda value: quote(_bytes(value), safe=""), 0, 0),
    "join": (_join, 1, 1),
    "concat": (lambda *values: "".join(map(text_of, values)), 1, 8),
    "lower": (lambda value: text_of(value).lower(), 0, 0),
    "slice": (_slice, 1, 2),
}
"""name: function, fewest and most arguments. The list is closed: a new provider never needs new code here, a new
algorithm does."""


# --- what a template compiles into -----------------------------------------------------------------------------------


class Path(Struct, frozen=True):
    steps: tuple[str, ...]

    def value(self, names: Names) -> Any:
        value: Any = names
        for step in self.steps:
            value = value.get(step) if isinstance(value, Mapping) else None
        return value


class Constant(Struct, frozen=True):
    constant: str | int | bool

    def value(self, _: Names) -> Any:
        return self.constant


class Filtered(Struct, frozen=True):
    """`x|filter|filter(argument)`."""

    operand: Path | Constant
    filters: tuple[tuple[str, tuple[Path | Constant, ...]], ...]

    def value(self, names: Names) -> Any:
        value = self.operand.value(names)
        for name, arguments in self.filters:
            inputs = [value, *(argument.value(names) for argument in arguments)]
            if any(item is None for item in inputs):
                return None
            value = text_of(FILTERS[name][0](*inputs))
        return value

    def paths(self, *, keys: bool) -> Iterator[tuple[str, ...]]:
        """`keys`: with those that only key an HMAC, whose result does not show them."""
        arguments = (a for name, inputs in self.filters if keys or name != "hmac_sha256_hex" for a in inputs)
        for operand in (self.operand, *arguments):
            if isinstance(operand, Path):
                yield operand.steps


class Choice(Struct, frozen=True):
    """`a ?? b`."""

    options: tuple[Filtered, ...]

    def value(self, names: Names) -> Any:
        return next((value for option in self.options if (value := option.value(names)) is not None), None)


class Template:
    """Compiled from its source; `value` keeps the type of a lone `${x}`, `text` is always text or null."""

    __slots__ = ("parts", "paths", "shown_paths", "source")

    def __init__(self, source: object) -> None:
        if not isinstance(source, str | int | bool):
            raise BadTemplate(f"expected text, got {type(source).__name__}")
        self.source = source
        self.parts: tuple[Choice | str, ...]
        if isinstance(source, str):
            self.parts = tuple(_parts(source))
        else:
            self.parts = (Choice((Filtered(Constant(source), ()),)),)
        self.paths = frozenset[tuple[str, ...]]().union(*map(_paths, self.parts))
        self.shown_paths = frozenset[tuple[str, ...]]().union(*(_paths(part, keys=False) for part in self.parts))

    def __repr__(self) -> str:
        return f"Template({self.source!r})"

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(path[0] for path in self.paths)

    def value(self, names: Names) -> Any:
        if len(self.parts) == 1 and isinstance(self.parts[0], Choice):
            return self.parts[0].value(names)
        return self.text(names)

    def text(self, names: Names) -> str | None:
        values = [_value(part, names) for part in self.parts]
        return None if any(value is None for value in values) else text_of("".join(map(text_of, values)))

    def leading(self, names: Names, known: Callable[[tuple[str, ...]], bool]) -> str:
        """The text before the first value that depends on a path which is not `known`."""
        parts = takewhile(lambda part: all(map(known, _paths(part))), self.parts)
        return "".join(text_of(_value(part, names) or "") for part in parts)

    def pattern(self, names: Names) -> re.Pattern[str]:
        """What this template can become: where a value is not known yet, any one path segment."""
        known = (_value(part, names) for part in self.parts)
        return re.compile("".join("[^/]+" if value is None else re.escape(text_of(value)) for value in known))


def _value(part: Choice | str, names: Names) -> Any:
    return part if isinstance(part, str) else part.value(names)


def _paths(part: Choice | str, *, keys: bool = True) -> frozenset[tuple[str, ...]]:
    options = () if isinstance(part, str) else part.options
    return frozenset(path for option in options for path in option.paths(keys=keys))


class Json:
    """A JSON object with templates at its leaves; what is null is left out."""

    __slots__ = ("_tree", "paths", "shown_paths", "source")

    def __init__(self, source: object) -> None:
        if not isinstance(source, dict):
            raise BadTemplate(f"expected a section, got {type(source).__name__}")
        self.source = source
        self._tree = _tree(source, MAX_JSON_DEPTH)
        leaves = list(_leaves(self._tree))
        self.paths = frozenset[tuple[str, ...]]().union(*(leaf.paths for leaf in leaves))
        self.shown_paths = frozenset[tuple[str, ...]]().union(*(leaf.shown_paths for leaf in leaves))

    def __repr__(self) -> str:
        return f"Json({self.source!r})"

    def value(self, names: Names) -> Any:
        return _filled(self._tree, names)


def _tree(source: Any, depth: int) -> Any:
    if depth == 0:
        raise BadTemplate(f"nested deeper than {MAX_JSON_DEPTH} levels")
    if isinstance(source, dict):
        return {key: _tree(value, depth - 1) for key, value in source.items()}
    if isinstance(source, list):
        return [_tree(value, depth - 1) for value in source]
    return Template(source)


def _leaves(tree: Any) -> Iterator[Template]:
    if isinstance(tree, Template):
        yield tree
    else:
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(inner)


def _filled(tree: Any, names: Names) -> Any:
    if isinstance(tree, dict):
        return {key: value for key, inner in tree.items() if (value := _filled(inner, names)) is not None}
    if isinstance(tree, list):
        return [value for inner in tree if (value := _filled(inner, names)) is not None]
    return tree.value(names)


# --- the compiler ----------------------------------------------------------------------------------------------------

_PLACEHOLDER = re.compile(r"\$\{((?:[^}']|'[^']*')*)\}")
_TOKEN = re.compile(
    r"\s*(?:(?P<path>[A-Za-z_][\w-]*(?:\.[\w-]+)*)|'(?P<text>[^']*)'|(?P<number>-?\d{1,9})|(?P<sign>\?\?|[|(),]))\s*",
    re.ASCII,
)


def _parts(source: str) -> Iterator[Choice | str]:
    if len(source) > MAX_SOURCE_CHARS:
        raise BadTemplate(f"longer than {MAX_SOURCE_CHARS} characters")
    end = 0
    for found in _PLACEHOLDER.finditer(source):
        if literal := _literal(source[end : found.start()]):
            yield literal
        yield _choice(_tokens(found[1]))
        end = found.end()
    if (literal := _literal(source[end:])) or end == 0:
        yield literal


def _literal(text: str) -> str:
    if "${" in text:
        raise BadTemplate("`${` without its `}`")
    return text


class _Tokens:
    """The tokens of one placeholder, read from left to right."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._rest = tokens[::-1]

    def take(self, kind: str, text: str | None = None) -> str | None:
        if self._rest and self._rest[-1][0] == kind and text in (None, self._rest[-1][1]):
            return self._rest.pop()[1]
        return None

    def __bool__(self) -> bool:
        return bool(self._rest)


def _tokens(source: str) -> _Tokens:
    tokens, end = [], 0
    while end < len(source):
        found = _TOKEN.match(source, end)
        if found is None or found.lastgroup is None:
            raise BadTemplate(f"cannot read `{source[end:].strip()}`")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        end = found.end()
    return _Tokens(tokens)


def _choice(tokens: _Tokens) -> Choice:
    options = [_filtered(tokens)]
    while tokens.take("sign", "??"):
        options.append(_filtered(tokens))
    if tokens:
        raise BadTemplate("expected `|`, `??` or `}`")
    return Choice(tuple(options))


def _filtered(tokens: _Tokens) -> Filtered:
    operand = _operand(tokens)
    filters: list[tuple[str, tuple[Path | Constant, ...]]] = []
    while tokens.take("sign", "|"):
        name = tokens.take("path") or ""
        if name not in FILTERS:
            raise BadTemplate(f"unknown filter `{name}`; there are {', '.join(sorted(FILTERS))}")
        arguments = _arguments(tokens)
        _, fewest, most = FILTERS[name]
        if not fewest <= len(arguments) <= most:
            raise BadTemplate(f"`{name}` takes {fewest if fewest == most else f'{fewest} to {most}'} arguments")
        filters.append((name, arguments))
    if len(filters) > MAX_FILTERS:
        raise BadTemplate(f"more than {MAX_FILTERS} filters")
    return Filtered(operand, tuple(filters))


def _arguments(tokens: _Tokens) -> tuple[Path | Constant, ...]:
    if not tokens.take("sign", "("):
        return ()
    arguments = [_operand(tokens)]
    while tokens.take("sign", ","):
        arguments.append(_operand(tokens))
    if not tokens.take("sign", ")"):
        raise BadTemplate("expected `)`")
    return tuple(arguments)


def _operand(tokens: _Tokens) -> Path | Constant:
    if path := tokens.take("path"):
        return Path(tuple(path.split(".")))
    if (text := tokens.take("text")) is not None:
        return Constant(text)
    if number := tokens.take("number"):
        return Constant(int(number))
    raise BadTemplate("expected a path, 'text' or a number")
