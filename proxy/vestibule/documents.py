"""Plain values that remember where in a file they were written, and problems told the way a compiler tells them.

A problem may quote the line it is about. Quotes are built from an allow-list: keys, and values known to be harmless.
All else on the line is masked, because a config file may hold secrets in places where nobody expects them.
"""

import json
import re
from collections.abc import Container, Mapping
from typing import Any

from msgspec import Struct

Place = tuple[str | int, ...]
"""Keys and list indices from the top of a document to a value."""

MASK = "***"


AGAIN = -1
"""In a place: the second appearance of the key before it. No list index is negative, so nothing else has this place."""


class Broken:
    """Stands for a value that could not be read and was reported; whoever meets it stays silent."""


BROKEN = Broken()


class Excerpt(Struct, frozen=True):
    """A source line with everything unknown masked, and the columns to underline."""

    text: str
    start: int
    width: int


class Problem(Struct, frozen=True, kw_only=True):
    """One thing to repair. No field ever holds a secret or the value of an interpolated variable."""

    file: str
    line: int
    """From 1; 0 when the file itself is the problem."""
    path: str
    found: str
    expected: str
    """Empty where `found` says it all."""
    hint: str = ""
    excerpt: Excerpt | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = f"{where}: {self.path}: " if self.path else f"{where}: "
        text += f"found {self.found}, expected {self.expected}" if self.expected else self.found
        return f"{text} ({self.hint})" if self.hint else text


class ConfigError(Exception):
    """Everything that is wrong with a config and its definitions, at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.file, problem.line))
        super().__init__("\n".join(map(str, self.problems)))


class Span(Struct, frozen=True, order=True):
    """Line from 1, columns from 0; a value that goes on in further lines ends at `end_line`."""

    line: int
    start: int
    end_line: int
    end: int


class Spot(Struct, frozen=True):
    """Where a value stands, and its key if it has one."""

    key: Span | None
    value: Span
    scalar: bool


Token = tuple[int, int, bool]
"""First column, column after the last, whether it is a key."""


class Document(Struct, frozen=True, kw_only=True):
    file: str
    value: Any
    spots: Mapping[Place, Spot]
    lines: tuple[str, ...]
    tokens: Mapping[int, Mapping[Token, list[Place]]]
    """By line, keys and scalars with the places that they belong to: several when aliases repeat one."""
    problems: tuple[Problem, ...] = ()
    """Duplicate keys and the like: the rest of the document is still usable to find more."""
    references: Mapping[Place, str] = {}
    """Interpolated values: what they refer to, such as `${NAME}`, which can be shown where the value cannot."""

    def line(self, place: Place) -> int:
        """The line of a value; of its section when the value is missing."""
        return self._span(place).line if self.spots else 0

    def problem(
        self,
        place: Place,
        *,
        expected: str,
        found: str | None = None,
        hint: str = "",
        private: bool = False,
        public: Container[Place] = (),
    ) -> Problem:
        """`found` defaults to what stands there; `private` hides it; `public` are values that the quote may show."""
        private = private or place in self.references
        if found is None:
            found = self.found(place, private=private)
        return Problem(
            file=self.file,
            line=self.line(place),
            path=dotted(place),
            found=found,
            expected=expected,
            hint=hint,
            excerpt=self._excerpt(place, private=private, public=public),
        )

    def found(self, place: Place, *, private: bool = False) -> str:
        if place in self.references:
            return f"the value of {self.references[place]}"
        value = self.value
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return "nothing"
        return describe(value, private=private)

    def _nearest(self, place: Place) -> Place:
        while place and place not in self.spots:
            place = place[:-1]
        return place

    def _span(self, place: Place) -> Span:
        """A scalar's own, unless an alias put it elsewhere; a section's key, or where a list entry begins."""
        spot = self.spots[self._nearest(place)]
        inline = spot.scalar and (spot.key is None or spot.value >= spot.key)
        return spot.value if inline or spot.key is None else spot.key

    def _excerpt(self, place: Place, *, private: bool, public: Container[Place]) -> Excerpt | None:
        """The line of `place`, cut before anything that is neither punctuation nor a known key or value."""
        if not self.spots:
            return None
        target = self._span(place)
        line = self.lines[target.line - 1]
        if len(line) > MAX_QUOTED:
            return None
        text, done, start, width = "", 0, -1, 0
        for token, places in sorted(self.tokens.get(target.line, {}).items()):
            left, right, _ = token
            gap = line[done:left]
            if left < done or not _PUNCTUATION.fullmatch(gap):
                break
            word = line[left:right]
            if not _quotable(word, token, places, place, private, public):
                word = MASK
            if left == target.start:
                start, width = len(text + gap), len(word)
            text, done = text + gap + word, right
        if rest := _PUNCTUATION.match(line, done):
            text = (text + rest[0]).rstrip()
        if not text:
            return None
        if start < 0:
            start = len(text) - len(text.lstrip())
            width = len(text) - start
        return Excerpt(text=text, start=start, width=width)


def _quotable(
    word: str, token: Token, places: list[Place], target: Place, private: bool, public: Container[Place]
) -> bool:
    """Keys, but not those inside of something private: `secret: {s3cret}` is a section with a secret for a key."""
    if _REFERENCE.fullmatch(word):
        return True
    if token[2]:
        inside = any(len(place) > len(target) and place[: len(target)] == target for place in places)
        return len(word) <= MAX_KEY and not (private and inside)
    known = all(place in public or (place == target and not private) for place in places)
    return known and not _UNQUOTABLE.search(word)


MAX_KEY = 32
"""A longer key is rather a secret in the wrong place."""
MAX_QUOTED = 300
"""A longer line is not worth quoting."""
_PUNCTUATION = re.compile(r"[\s\[\]{},:?|>+-]*")
_REFERENCE = re.compile(r"""(["']?)\$\{(?:[A-Za-z_]\w*|file:[^}"':]+)\}\1""", re.ASCII)
"""What a value refers to may be shown where the value may not; a default may be a value."""
_UNQUOTABLE = re.compile(r"\A[!&]|://\S*[@?]")
"""A tag or anchor before the value; URLs with credentials."""
_CREDENTIALS = re.compile(r"://\S*[@?]")
"""URLs carry passwords before the `@` and tokens in the query, whatever field they are written in."""
_MAX_SHOWN = 60


def describe(value: Any, *, private: bool = False) -> str:  # noqa: PLR0911  # one line per kind of value
    """A short, printable account of a value; of a private one, only its kind."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a section"
        case list():
            return "an empty list" if not value else "a list"
        case Broken():
            return "an unreadable value"
        case str() if private:
            return "text (not shown)" if value else "empty text"
        case _ if private:
            return "a value (not shown)"
        case str() if _CREDENTIALS.search(value):
            return "a URL with credentials or a query (not shown)"
        case str():
            short = value if len(value) <= _MAX_SHOWN else value[: _MAX_SHOWN - 1] + "…"
            return json.dumps(short, ensure_ascii=not short.replace("\n", "").isprintable())
        case _:
            return json.dumps(value)


def dotted(place: Place) -> str:
    """`routes[0].path`; keys that are no plain words are quoted, and hidden when they are too long to be names."""
    text = ""
    for key in place:
        if key == AGAIN:
            continue
        if isinstance(key, int):
            text += f"[{key}]"
        elif re.fullmatch(r"[A-Za-z_][\w-]*", key) and len(key) <= MAX_KEY:
            text += f".{key}" if text else key
        else:
            text += f"[{shown_key(key)}]"
    return text


def shown_key(key: str) -> str:
    return describe(key) if len(key) <= MAX_KEY else f"a key of {len(key)} characters"
