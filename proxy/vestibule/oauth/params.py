"""Requests as clients send them, read strictly: a parameter means one thing or the request is refused.

RFC 6749 §3.1 and §3.2 say that no parameter may be repeated and that an empty one counts as absent. A reader that takes
the first of two values, beside another component that takes the last, is how checks are bypassed; so a repeat is an
error, also of a parameter nobody knows. RFC 8707 §2 lets `resource` alone repeat.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

from vestibule.errors import InvalidRequest, InvalidScope

MAX_BYTES = 64 * 1024
MAX_FIELDS = 64
STANDARD_SCOPES = frozenset({"offline_access", "openid", "profile", "email"})
"""Names that clients add by habit. They grant nothing here, so asking for them is neither an error nor a choice."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_FORM = re.compile(r'application/x-www-form-urlencoded(?:\s*;\s*charset="?utf-8"?)?\s*;?\s*', re.IGNORECASE)


class Params(Mapping[str, str]):
    """The parameters of one request, `resource` apart in `resources`. Never printed with values: some are secrets."""

    __slots__ = ("_values", "resources")

    def __init__(self, values: Mapping[str, str], resources: tuple[str, ...] = ()) -> None:
        self._values = dict(values)
        self.resources = resources

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Params({', '.join(self._values)})"


def parse_query(raw: bytes) -> Params:
    """The query of an authorization request (RFC 6749 §3.1)."""
    return _read(raw)


def parse_form(body: bytes, content_type: str) -> Params:
    """A form body (RFC 6749 §3.2, Appendix B). JSON is refused: a second format would be a second set of rules."""
    if not _FORM.fullmatch(content_type.strip()):
        raise InvalidRequest("content_type", "not application/x-www-form-urlencoded in UTF-8")
    return _read(body)


def parse_scope(text: str | None) -> tuple[str, ...]:
    """Scope tokens in order, without repeats (RFC 6749 §3.3).

    The grammar has single spaces only, but real clients send `scope=+offline_access`, and no reading of a superfluous
    space is dangerous.
    """
    tokens = tuple(dict.fromkeys(token for token in (text or "").split(" ") if token))
    if not all(_SCOPE_TOKEN.fullmatch(token) for token in tokens):
        raise InvalidScope("scope_malformed")
    return tokens


def _read(raw: bytes) -> Params:
    if len(raw) > MAX_BYTES:
        raise InvalidRequest("request_too_large", f"{len(raw)} bytes")
    try:
        # Strict UTF-8 (Appendix B): a replacement character would make two different values equal.
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidRequest("parameters_malformed", "not UTF-8, or too many fields") from None
    values: dict[str, str] = {}
    resources: list[str] = []
    for name, value in pairs:
        if not value:
            continue  # §3.1: sent without a value means not sent
        if _CONTROL.search(value) or _CONTROL.search(name):
            # RFC 6749 Appendix A allows none in any parameter; a NUL breaks databases, a CR LF breaks headers and logs.
            raise InvalidRequest("control_character")
        if name == "resource":
            resources.append(value)
        elif name in values:
            raise InvalidRequest("parameter_repeated")
        else:
            values[name] = value
    return Params(values, tuple(resources))
