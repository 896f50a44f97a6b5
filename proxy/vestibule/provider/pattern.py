r"""Patterns for values: a subset of regular expressions that is matched without backtracking.

    text   .   [a-z]   [^/?#]   \d \w \s   \.   ( | )   (?: )   ?   *   +   {2}   {2,}   {2,5}

A pattern always has to match the whole value; `^` and `$` at its ends may be written and change nothing. There are no
look-arounds, references, flags or lazy repeats, and `\d`, `\w` and `\s` are ASCII.

Why not `re`: a hostile or careless pattern such as `(a+)+$` takes exponential time there. Here all states are followed
at once (Thompson 1968), so time is at most length times states, and both are bounded. And because the grammar is ours,
`forms` can say what a pattern lets through, which decides whether a captured value may stand in a host name.
"""

import string
from collections.abc import Iterator
from itertools import product

from msgspec import Struct

from vestibule.provider.template import BadTemplate

MAX_SOURCE_CHARS = 500
MAX_VALUE_CHARS = 1024
MAX_STATES = 1000
MAX_FORMS = 256
_MAX_DEPTH = 20
_MAX_REPEAT = 255
_COPIES = 4
"""A group that repeats more often than this counts as any run of its characters."""


class Chars(Struct, frozen=True):
    """A set of characters: ASCII ones by name, all others together."""

    ascii: frozenset[str]
    others: bool = False

    def __contains__(self, char: str) -> bool:
        return char in self.ascii if char.isascii() else self.others

    def union(self, other: "Chars") -> "Chars":
        return Chars(self.ascii | other.ascii, self.others or other.others)

    def inverse(self) -> "Chars":
        return Chars(_ASCII - self.ascii, not self.others)


class Run(Struct, frozen=True):
    """One or more characters of a set: what is not fixed in a `Form`."""

    chars: Chars


Form = tuple[str | Run, ...]
"""One of the ways in which a value can be made: fixed texts and runs."""


class _Sequence(Struct, frozen=True):
    items: tuple["_Node", ...]


class _Choice(Struct, frozen=True):
    options: tuple["_Node", ...]


class _Repeat(Struct, frozen=True):
    item: "_Node"
    least: int
    most: int | None


_Node = Chars | _Sequence | _Choice | _Repeat

_ASCII = frozenset(map(chr, range(128)))
_CLASSES = {
    "d": Chars(frozenset(string.digits)),
    "w": Chars(frozenset(string.ascii_letters + string.digits + "_")),
    "s": Chars(frozenset(string.whitespace)),
}
_ANY = Chars(_ASCII - {"\n"}, others=True)


class Pattern:
    """Compiled from its source; raises BadTemplate."""

    __slots__ = ("_program", "_tree", "source")

    def __init__(self, source: object) -> None:
        if not isinstance(source, str):
            raise BadTemplate(f"not a regular expression but {type(source).__name__}")
        if len(source) > MAX_SOURCE_CHARS:
            raise BadTemplate(f"a regular expression longer than {MAX_SOURCE_CHARS} characters")
        self.source = source
        self._tree = _Parser(source).tree()
        self._program = _Program(self._tree)

    def __repr__(self) -> str:
        return f"Pattern({self.source!r})"

    def matches(self, text: str) -> bool:
        """The whole of it. A longer text than any name or URL has is no match."""
        return len(text) <= MAX_VALUE_CHARS and self._program.accepts(text)

    def forms(self) -> list[Form] | None:
        """All ways in which a value can be made, fewest runs as possible; None if they are too many to be judged."""
        try:
            return list(dict.fromkeys(map(joined, _forms(self._tree))))
        except _TooMany:
            return None


# --- reading ---------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, source: str) -> None:
        self._source, self._at, self._depth = source, 0, 0
        self._end = len(source)

    def tree(self) -> _Node:
        self._at = 1 if self._source.startswith("^") else 0
        if self._source.endswith("$") and not self._source.endswith("\\$"):
            self._end -= 1
        tree = self._choice()
        if self._at < self._end:
            raise self._bad("a `)` without its `(`")
        return tree

    def _bad(self, why: str) -> BadTemplate:
        return BadTemplate(f"not a regular expression of this language: {why} at character {self._at + 1}")

    def _peek(self) -> str:
        return self._source[self._at] if self._at < self._end else ""

    def _next(self) -> str:
        if self._at >= self._end:
            raise self._bad("an unfinished end")
        self._at += 1
        return self._source[self._at - 1]

    def _choice(self) -> _Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._bad("nested too deeply")
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        self._depth -= 1
        return options[0] if len(options) == 1 else _Choice(tuple(options))

    def _sequence(self) -> _Node:
        items = []
        while self._peek() not in {"", "|", ")"}:
            items.append(self._repeated(self._atom()))
        return items[0] if len(items) == 1 else _Sequence(tuple(items))

    def _atom(self) -> _Node:
        match self._next():
            case "(":
                if self._peek() == "?":
                    self._at += 1
                    if self._next() != ":":
                        raise self._bad("`(?` that is not `(?:`")
                inner = self._choice()
                if self._peek() != ")":
                    raise self._bad("a `(` without its `)`")
                self._at += 1
                return inner
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case ".":
                return _ANY
            case "*" | "+" | "?" | "{" | "}" | "]" | "^" | "$" as char:
                raise self._bad(f"a `{char}` that means nothing here: write `\\{char}` for the character,")
            case char:
                return _one(char)

    def _escape(self) -> Chars:
        char = self._next()
        if char.lower() in _CLASSES:
            return _CLASSES[char] if char.islower() else _CLASSES[char.lower()].inverse()
        if not char.isascii() or char.isalnum() or not char.isprintable():
            raise self._bad(f"an escape `\\{char}` that is not known")
        return _one(char)

    def _class(self) -> Chars:
        negated = self._peek() == "^"
        self._at += negated
        found, first = Chars(frozenset()), True
        while self._peek() != "]" or first:
            first = False
            low = self._member()
            if self._peek() != "-" or self._source[self._at + 1 : self._at + 2] == "]":
                found = found.union(low)
                continue
            self._at += 1
            found = found.union(self._range(low, self._member()))
        self._at += 1
        return found.inverse() if negated else found

    def _member(self) -> Chars:
        char = self._next()
        return self._escape() if char == "\\" else _one(char)

    def _range(self, low: Chars, high: Chars) -> Chars:
        first, last = (next(iter(chars.ascii)) if len(chars.ascii) == 1 else "" for chars in (low, high))
        if not first or not last or first > last:
            raise self._bad("a range that is none")
        return Chars(frozenset(map(chr, range(ord(first), ord(last) + 1))))

    def _repeated(self, item: _Node) -> _Node:
        char = self._peek()
        if char not in {"?", "*", "+", "{"}:
            return item
        self._at += 1
        least, most = self._counts() if char == "{" else {"?": (0, 1), "*": (0, None), "+": (1, None)}[char]
        if self._peek() in {"?", "*", "+", "{"}:
            raise self._bad("a repeat of a repeat")
        return _Repeat(item, least, most)

    def _counts(self) -> tuple[int, int | None]:
        end = self._source.find("}", self._at, self._end)
        low, comma, high = self._source[self._at : max(end, self._at)].partition(",")
        numbers = [low] if not comma else [low, high or "0"]
        if end < 0 or not all(n.isascii() and n.isdigit() and len(n) <= 3 for n in numbers):  # noqa: PLR2004
            raise self._bad("a `{` that is no count")
        self._at = end + 1
        least = int(low)
        most = least if not comma else int(high) if high else None
        if max(least, most or 0) > _MAX_REPEAT or (most is not None and most < least):
            raise self._bad(f"a count that is not from 0 to {_MAX_REPEAT}")
        return least, most


def _one(char: str) -> Chars:
    if not char.isascii():
        raise BadTemplate("not a regular expression of this language: a character that is not ASCII")
    return Chars(frozenset({char}))


# --- matching --------------------------------------------------------------------------------------------------------


class _Program:
    """States that read one character, and jumps between them."""

    def __init__(self, tree: _Node) -> None:
        self._reads: list[Chars | None] = []
        self._jumps: list[tuple[int, ...]] = []
        self._emit(tree)
        self._end = self._state(None)

    def accepts(self, text: str) -> bool:
        now = self._reached([0])
        for char in text:
            read = [state + 1 for state in now if (chars := self._reads[state]) is not None and char in chars]
            if not read:
                return False
            now = self._reached(read)
        return self._end in now

    def _reached(self, states: list[int]) -> set[int]:
        found: set[int] = set()
        while states:
            state = states.pop()
            if state not in found:
                found.add(state)
                states += self._jumps[state]
        return found

    def _state(self, reads: Chars | None, *jumps: int) -> int:
        if len(self._reads) == MAX_STATES:
            raise BadTemplate(f"a regular expression with more than {MAX_STATES} states")
        self._reads.append(reads)
        self._jumps.append(jumps)
        return len(self._reads) - 1

    def _emit(self, node: _Node) -> None:
        match node:
            case Chars():
                self._state(node)
            case _Sequence(items):
                for item in items:
                    self._emit(item)
            case _Choice(options):
                self._emit_choice(options)
            case _Repeat(item, least, most):
                for _ in range(least):
                    before = len(self._reads)
                    self._emit(item)
                    if len(self._reads) == before:  # nothing, however often; nested, that would take for ever
                        break
                self._emit_optional(item, most if most is None else most - least)

    def _emit_choice(self, options: tuple[_Node, ...]) -> None:
        start = self._state(None)
        starts, ends = [], []
        for option in options:
            starts.append(len(self._reads))
            self._emit(option)
            ends.append(self._state(None))
        self._jumps[start] = tuple(starts)
        for end in ends:
            self._jumps[end] = (len(self._reads),)

    def _emit_optional(self, item: _Node, times: int | None) -> None:
        """None: any number of times."""
        if times is None:
            start = self._state(None)
            self._emit(item)
            back = self._state(None, start)
            self._jumps[start] = (start + 1, back + 1)
            return
        skips = []
        for _ in range(times):
            skips.append(self._state(None))
            self._emit(item)
        for skip in skips:
            self._jumps[skip] = (skip + 1, len(self._reads))


# --- what it lets through --------------------------------------------------------------------------------------------


class _TooMany(Exception):
    pass


def _forms(node: _Node) -> list[Form]:
    match node:
        case Chars():
            return [(next(iter(node.ascii)),)] if len(node.ascii) == 1 and not node.others else [(Run(node),)]
        case _Sequence(items):
            return _products([_forms(item) for item in items])
        case _Choice(options):
            return _counted(form for option in options for form in _forms(option))
        case _Repeat(item, least, most):
            nothing: list[Form] = [()] if least == 0 or _may_be_empty(item) else []
            if most is not None and most <= (1 if isinstance(item, Chars) else _COPIES):
                inner = _forms(item)
                return _counted(form for n in range(least, most + 1) for form in _products([inner] * n))
            return [*nothing, (Run(_chars(item)),)]


def _may_be_empty(node: _Node) -> bool:
    match node:
        case Chars():
            return False
        case _Sequence(items):
            return all(map(_may_be_empty, items))
        case _Choice(options):
            return any(map(_may_be_empty, options))
        case _Repeat(item, least):
            return least == 0 or _may_be_empty(item)


def _products(parts: list[list[Form]]) -> list[Form]:
    found: list[Form] = [()]
    for part in parts:
        found = _counted((*left, *right) for left, right in product(found, part))
    return found


def _counted(forms: Iterator[Form]) -> list[Form]:
    found = []
    for form in forms:
        found.append(form)
        if len(found) > MAX_FORMS:
            raise _TooMany
    return found


def _chars(node: _Node) -> Chars:
    parts: tuple[_Node, ...]
    match node:
        case Chars():
            return node
        case _Sequence(parts) | _Choice(parts):
            pass
        case _Repeat(item):
            parts = (item,)
    found = Chars(frozenset())
    for part in parts:
        found = found.union(_chars(part))
    return found


def joined(form: Form) -> Form:
    """Neighbouring texts as one."""
    parts: list[str | Run] = []
    for part in form:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return tuple(parts)
