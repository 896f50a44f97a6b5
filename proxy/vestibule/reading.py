"""YAML files to documents.

Chosen: our own walk over PyYAML's node graph instead of a constructor. It sees what a constructor throws away
(duplicate keys, line and column of every key and value) and reads scalars as YAML 1.2 does, so that `no` and `on` are
text. Size, depth and node count are bounded while composing, and every alias counts anew: an alias bomb ends early.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec.structs import replace
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.resolver import Resolver

from vestibule.documents import AGAIN, BROKEN, ConfigError, Document, Place, Problem, Span, Spot, Token, shown_key

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000


def read(path: Path) -> Document:
    """Raises ConfigError when there is no document at all: unreadable, too large, not YAML."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise _whole(str(path), "more than 1 MiB", "a YAML file of at most 1 MiB")
        return parse(raw.decode("utf-8-sig"), str(path))
    except FileNotFoundError:
        raise _whole(str(path), "no such file", "a YAML file") from None
    except UnicodeDecodeError:
        raise _whole(str(path), "bytes that are not UTF-8", "a YAML file in UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "an unusable file name"
        raise _whole(str(path), reason.lower(), "a readable YAML file") from None


def parse(text: str, file: str) -> Document:
    """Raises ConfigError for the first syntax error: after it, nothing can be trusted to mean what was meant."""
    # the line breaks that libyaml counts, and the empty line on which it sees the end of a file
    lines = (*re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text), "")
    try:
        node = _Reader(text).get_single_node()
        walk = _Walk()
        value = None if node is None else walk.value(node, (), None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = _QUOTED.sub(_without_word, error.problem or "something else")
        line = min(mark.line + 1, len(lines) - 1) if mark else 1
        raise ConfigError([_syntax(file, line, f"a syntax error: {told}")]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([_syntax(file, line, "a control character")]) from None
    document = Document(file=file, value=value, spots=walk.spots, lines=lines, tokens=_tokens(walk.spots, lines))
    problems = [
        document.problem(place, found=found, expected=expected, hint=hint, private=True)
        for place, found, expected, hint in walk.found
    ]
    return replace(document, problems=tuple(problems))


def _tokens(spots: Mapping[Place, Spot], lines: tuple[str, ...]) -> dict[int, dict[Token, list[Place]]]:
    """A scalar of several lines counts in its first and last; no other key or value can stand in those between."""
    found: dict[int, dict[Token, list[Place]]] = {}
    for place, spot in spots.items():
        for span, is_key in ((spot.key, True), (spot.value if spot.scalar else None, False)):
            for line in {span.line, span.end_line} if span else ():
                left = span.start if span and line == span.line else 0
                right = span.end if span and line == span.end_line else len(lines[line - 1])
                if left < right:
                    found.setdefault(line, {}).setdefault((left, right, is_key), []).append(place)
    return found


_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")


def _without_word(match: re.Match[str]) -> str:
    """The parser quotes characters and `<token types>`, but also names of aliases, anchors and tags, which may be the
    beginning of an unquoted secret.
    """
    word = match[0][1:-1]
    return match[0] if word[:1] == "<" or re.fullmatch(r"\\?.", word) else "'…'"


def _whole(file: str, found: str, expected: str) -> ConfigError:
    return ConfigError([Problem(file=file, line=0, path="", found=found, expected=expected)])


def _syntax(file: str, line: int, found: str) -> Problem:
    hint = "put text that contains special characters in quotes, and indent with spaces only"
    return Problem(file=file, line=line, path="", found=found, expected="valid YAML", hint=hint)


_NULL, _BOOL = "tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_STR = "tag:yaml.org,2002:str"
_SCALARS: dict[str, tuple[re.Pattern[str], Any]] = {
    _NULL: (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    _BOOL: (re.compile(r"true|false"), lambda text: text == "true"),
    _INT: (re.compile(r"[-+]?[0-9]{1,18}"), int),
    _FLOAT: (re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,2})?"), float),
    _STR: (re.compile(r".*", re.DOTALL), str),
}
"""YAML 1.2 core schema §10.3, less what only surprises: no octal, no hexadecimal, no `True`, no infinities."""


_RESOLVERS = {None: [(tag, re.compile(rf"(?:{rule.pattern})\Z")) for tag, (rule, _) in _SCALARS.items() if tag != _STR]}


class _Reader(Composer, CParser, Resolver):
    """libyaml's events, composed within bounds in Python: its own composer recurses on the C stack without any."""

    yaml_implicit_resolvers = _RESOLVERS

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        Resolver.__init__(self)
        self._depth = self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        self._count += 1
        event = self.peek_event()
        _bounded(self._depth, self._count, event.start_mark if event else None)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _bounded(depth: int, count: int, mark: Any) -> None:
    if depth > MAX_DEPTH:
        raise yaml.MarkedYAMLError(problem=f"nesting deeper than {MAX_DEPTH} levels", problem_mark=mark)
    if count > MAX_NODES:
        raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES} values", problem_mark=mark)


class _Walk:
    """From nodes to plain values; remembers spots, and problems that leave the rest readable."""

    def __init__(self) -> None:
        self.spots: dict[Place, Spot] = {}
        self.found: list[tuple[Place, str, str, str]] = []
        """Place, found, expected, hint."""
        self._count = 0

    def value(self, node: yaml.Node, place: Place, key: Span | None) -> Any:
        self._count += 1
        _bounded(len(place), self._count, node.start_mark)
        self.spots[place] = Spot(key=key, value=_span(node), scalar=isinstance(node, yaml.ScalarNode))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, (*place, index), None) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            rule, construct = _SCALARS[node.tag]
            if rule.fullmatch(node.value):
                return construct(node.value)
        hint = "remove the tag (the word that begins with !)"
        self.found.append((place, "a YAML tag", "a plain value", hint))
        return BROKEN

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        """Keys are text, as in JSON. A repeated one keeps its first value, and gets a place beside it to be quoted."""
        result: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.found.append((place, "a list or section as a key", "keys that are text", ""))
                continue
            here = (*place, key.value)
            if key.value not in result:
                result[key.value] = self.value(item, here, _span(key))
                continue
            first = self.spots[here].key
            hint = f"remove one of the two; the first is in line {first.line if first else 0}"
            self.value(item, (*here, AGAIN), _span(key))
            self.found.append(((*here, AGAIN), f"{shown_key(key.value)} again", "each key once", hint))
        return result


def _span(node: yaml.Node) -> Span:
    start, end = node.start_mark, node.end_mark
    return Span(line=start.line + 1, start=start.column, end_line=end.line + 1, end=end.column)
