"""JMESPath looked at from the other side: which paths an expression reads, and a document in which it finds something.

Both walk the library's syntax tree, and both are for people's eyes: what a `planted` document lacks or `reads` counts
too many changes what is shown, and never what is sent.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
import msgspec

from vestibule.provider.expression import Expression

Path = tuple[str, ...]
"""Keys from the top of a document; list indices are left out, so `orgs[].login` and `orgs[0].login` are one path."""
ANY = "*"
_MAX_LEAVES = 2000

# --- what an expression reads ----------------------------------------------------------------------------------------


def reads(expression: Expression) -> frozenset[Path]:
    """A read path stands for everything below it."""
    found: set[Path] = set()
    found |= _follow(jmespath.compile(expression.source).parsed, {()}, found)
    return frozenset(found)


def leaves(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of a document that is no object or list, with its path; the first of each path only."""
    seen: set[Path] = set()
    for place, value in _leaves(document, path):
        if place not in seen:
            seen.add(place)
            yield place, value
        if len(seen) == _MAX_LEAVES:
            return


def is_read(path: Path, read: frozenset[Path]) -> bool:
    """Whether one of the read paths leads to this value, or to something that holds it."""
    return any(len(r) <= len(path) and all(s in (ANY, p) for s, p in zip(r, path, strict=False)) for r in read)


def _leaves(document: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    match document:
        case Mapping() if document:
            for name, value in document.items():
                yield from _leaves(value, (*path, str(name)))
        case list() if document:
            for item in document:
                yield from _leaves(item, path)
        case _:
            yield path, document


def _follow(  # noqa: C901, PLR0911, PLR0912  # one case for each kind of node
    node: Mapping[str, Any], at: set[Path], found: set[Path]
) -> set[Path]:
    """Where the node's value may come from if it is asked at these paths; what is read on the way goes to `found`."""
    children = [child for child in node["children"] if isinstance(child, Mapping)]
    match node["type"]:
        case "field":
            return {(*path, node["value"]) for path in at}
        case "literal" | "index" | "slice":
            return set() if node["type"] == "literal" else at
        case "current" | "identity":
            return at
        case "subexpression" | "index_expression" | "flatten" | "projection" | "pipe":
            for child in children:
                at = _follow(child, at, found)
            return at
        case "value_projection":
            inner = {(*path, ANY) for path in _follow(children[0], at, found)}
            return _follow(children[1], inner, found)
        case "filter_projection":
            inner = _follow(children[0], at, found)
            found |= _follow(children[2], inner, found)
            return _follow(children[1], inner, found)
        case "function_expression":
            values = [child for child in children if child["type"] != "expref"]
            inner = set[Path]().union(*(_follow(child, at, found) for child in values))
            for child in children:
                if child["type"] == "expref":
                    found |= _follow(child["children"][0], inner, found)
            return inner
        case "comparator" | "not_expression":
            found |= set[Path]().union(*(_follow(child, at, found) for child in children))
            return set()
        case "and_expression":
            found |= _follow(children[0], at, found)
            return _follow(children[1], at, found)
        case _:
            return set[Path]().union(*(_follow(child, at, found) for child in children))


# --- a document in which it finds something --------------------------------------------------------------------------


def planted(expression: Expression, value: Any, document: Any = None) -> Any:
    """`document` and what it takes for the expression to yield something like `value`: lists where it expects lists."""
    return grown(document, _plant(jmespath.compile(expression.source).parsed, value))


def grown(document: Any, more: Any) -> Any:
    """Both in one: what `document` has stays, unless `more` has something inside of it."""
    if isinstance(document, dict) and isinstance(more, dict):
        return document | {key: grown(document.get(key), value) for key, value in more.items()}
    if isinstance(document, list) and isinstance(more, list):
        longest = max(len(document), len(more))
        pairs = ((item[n] if n < len(item) else None for item in (document, more)) for n in range(longest))
        return [grown(left, right) for left, right in pairs]
    if document is None or (isinstance(more, dict | list) and not isinstance(document, dict | list)):
        return more
    return document


def _plant(node: Mapping[str, Any], value: Any) -> Any:  # noqa: C901, PLR0911, PLR0912  # one case for each kind
    """Null where nothing is needed."""
    children = [child for child in node["children"] if isinstance(child, Mapping)]
    match node["type"]:
        case "field":
            return {node["value"]: value}
        case "current" | "identity":
            return value
        case "subexpression" | "index_expression" | "pipe":
            for child in reversed(children):
                value = _plant(child, value)
            return value
        case "index":
            return [value]
        case "slice":
            return value if isinstance(value, list) else [value]
        case "flatten":
            return _plant(children[0], value if isinstance(value, list) else [value])
        case "projection":
            return _plant(children[0], [_plant(children[1], _single(value))])
        case "value_projection":
            return _plant(children[0], {"key": _plant(children[1], _single(value))})
        case "filter_projection":
            item = grown(_plant(children[1], _single(value)), _plant(children[2], True))  # it has to hold
            return _plant(children[0], [item])
        case "and_expression":
            return grown(_plant(children[1], value), _plant(children[0], True))
        case "or_expression":
            return _plant(children[0], value)
        case "comparator" if node["value"] == "eq":
            return _plant_equal(children)
        case "function_expression":
            return _plant_argument(node["value"], children, value)
        case "multi_select_list":
            return _together(_plant(child, _single(value)) for child in children)
        case "multi_select_dict":
            inner = value if isinstance(value, dict) else {}
            return _together(_plant(child["children"][0], inner.get(child["value"], value)) for child in children)
    return None


def _plant_equal(sides: list[Mapping[str, Any]]) -> Any:
    literal = next((side for side in sides if side["type"] == "literal"), None)
    other = next((side for side in sides if side is not literal), None)
    return None if literal is None or other is None else _plant(other, literal["value"])


def _plant_argument(name: str, arguments: list[Mapping[str, Any]], value: Any) -> Any:
    match name, arguments:
        case "contains" | "starts_with" | "ends_with", [subject, {"type": "literal", "value": wanted}]:
            return _plant(subject, [wanted] if name == "contains" else wanted)
        case "contains", [{"type": "literal", "value": [wanted, *_]}, sought]:
            return _plant(sought, wanted)
        case "join", [_, items]:
            return _plant(items, value if items["type"] == "multi_select_list" else [value])
        case "from_json", [text]:
            return _plant(text, msgspec.json.encode(value).decode())
        case "sort_by" | "min_by" | "max_by", [items, {"type": "expref", "children": [key]}]:
            found = value if isinstance(value, list) else [value]
            return _plant(items, [grown(item, _plant(key, 1)) for item in found])
    values = (argument for argument in arguments if argument["type"] not in {"expref", "literal"})
    return next((_plant(argument, value) for argument in values), None)


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _together(parts: Any) -> Any:
    document = None
    for part in parts:
        document = grown(document, part)
    return document
