"""JMESPath, which reads values out of documents, within bounds.

It has no loops, but a document can be multiplied: `[@, @][]` doubles it, and written twenty times in a row it fills any
memory. So an expression may have so many nodes, and may multiply what it reads by so much (`MAX_GROWTH`). One function
is added, `from_json`, for documents that come as text inside of others; it is null for what is no JSON.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
import msgspec

from vestibule.provider.template import MAX_SOURCE_CHARS, BadTemplate

MAX_NODES = 250
"""Of an expression's syntax tree."""
MAX_GROWTH = 64


class _Functions(jmespath.functions.Functions):  # type: ignore[misc]  # the library has no types
    @jmespath.functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_from_json(self, text: Any) -> Any:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, TypeError, RecursionError, ValueError):
            return None


_OPTIONS = jmespath.Options(custom_functions=_Functions())


class Expression:
    """A JMESPath expression. One that does not compile is an error of the definition; one that fails on a reply is
    null, because a provider's surprise must not become our exception.
    """

    __slots__ = ("_compiled", "roots", "source")

    def __init__(self, source: object) -> None:
        if not isinstance(source, str):
            raise BadTemplate(f"expected a JMESPath expression, got {type(source).__name__}")
        if len(source) > MAX_SOURCE_CHARS:
            raise BadTemplate(f"longer than {MAX_SOURCE_CHARS} characters")
        self.source = source
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # `x` without quotes: read as text today, refused by a later library
                self._compiled = jmespath.compile(source)
            _bounded(self._compiled.parsed)
            self.roots = _roots(self._compiled.parsed)
        except (jmespath.exceptions.JMESPathError, Warning, RecursionError, ValueError) as error:
            raise BadTemplate(f"not a JMESPath expression: {str(error).splitlines()[0]}") from None

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def __call__(self, document: Any) -> Any:
        try:
            return self._compiled.search(document, options=_OPTIONS)
        except Exception:  # noqa: BLE001  # the library lets TypeError, OverflowError and others through
            return None

    def holds(self, document: Any) -> bool:
        """JMESPath's truth: everything but false, null and what is empty."""
        value = self(document)
        return not (value is None or value is False or (isinstance(value, str | list | dict) and not value))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        if isinstance(child, Mapping):
            yield from _nodes(child)


def _bounded(tree: Mapping[str, Any]) -> None:
    """How much can come of how little: no function calls itself and no name leads back to the whole document, so the
    multi-selects (each may repeat what it is given), `to_string` (each escapes what the last one escaped) and the
    separators of `join` (one for each item, which may be empty) bound it.
    """
    growth = 1
    for count, node in enumerate(_nodes(tree), start=1):
        growth *= _growth(node)
        if count > MAX_NODES:
            raise BadTemplate(f"an expression with more than {MAX_NODES} parts")
        if growth > MAX_GROWTH:
            raise BadTemplate(f"an expression that can make more than {MAX_GROWTH} of one value")


def _growth(node: Mapping[str, Any]) -> int:
    if node["type"] in {"multi_select_list", "multi_select_dict"}:
        return max(1, len(node["children"]))
    if node["type"] == "function_expression" and node["value"] == "to_string":
        return 6
    if node["type"] == "function_expression" and node["value"] == "join":
        separator = node["children"][0] if node["children"] else {"type": ""}
        if separator["type"] != "literal":
            raise BadTemplate("`join` needs a text as separator")
        return max(1, len(separator["value"])) if isinstance(separator["value"], str) else 1
    return 1


_THEN = frozenset({"subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection"})
"""AST nodes whose first child sees the document, and the others what the first found."""
_UNRELATED = frozenset({"expref", "literal", "current", "identity"})


def _roots(node: Mapping[str, Any]) -> frozenset[str]:
    """The names that an expression looks up in the document itself, so that a misspelt one is found at load."""
    if node["type"] == "field":
        return frozenset({node["value"]})
    if node["type"] in _UNRELATED:
        return frozenset()
    if node["type"] == "function_expression" and node["value"] not in _Functions.FUNCTION_TABLE:
        raise BadTemplate(f"unknown function `{node['value']}`")
    children = node["children"][:1] if node["type"] in _THEN else node["children"]
    return frozenset[str]().union(*(_roots(child) for child in children if isinstance(child, Mapping)))
