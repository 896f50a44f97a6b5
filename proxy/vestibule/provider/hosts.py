r"""Where a value from a callback or a reply may stand in a URL: nowhere that it could choose who is called.

The request may carry the client secret or the user's token, so this is decided when the definition loads, for all
values that could ever come, and not by looking at one. The pattern of a captured parameter is taken apart into its
forms (`Pattern.forms`); each form is put into the URL, and what is not fixed in it must not be able to

- add to the host, or end it: no `.`, `/`, `:`, `@`, `?`, `#`, `%` or `\` in a run, and after it a fixed domain of two
  labels or more, so that the run is a label below a name that the definition chose. `.co.uk` and its like are no such
  domain, since anybody can register below them. Which suffixes hosting companies hand out (`.github.io`) changes by
  the day and stands in no pattern: that is the author's risk;
- move in the path: the same characters, since `..` and `/` lead to other endpoints.

Then, should all that be wrong, the pattern is asked about a list of hostile values. A value that is neither the
config's nor captured (of a token reply, say) has no pattern: it may stand behind the host, and percent-encoded only.
"""

import re
import string
from collections.abc import Iterator, Mapping
from itertools import product

from vestibule.provider.pattern import MAX_FORMS, Chars, Form, Pattern, Run, joined
from vestibule.provider.template import Choice, Filtered, Names, Path, Template, text_of
from vestibule.provider.urls import ORIGIN

_LABEL = frozenset(string.ascii_letters + string.digits + "-_")
_ENCODED = Run(Chars(_LABEL | {".", "~", "%"}))
"""What `|urlencode` leaves. Dots remain; a segment of dots is refused when the URL is known."""
_UNKNOWN = Run(Chars(frozenset(), others=True))
_DISCOVERED = Run(Chars(frozenset()))
_NAME = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z]{2,}", re.IGNORECASE)
_REGISTRY = r"\.(?:co|com|net|org|ac|gov|edu)\.[a-z]{2}"
_BELOW = re.compile(rf"(?!{_REGISTRY}\Z)(?:\.[a-z0-9_-]+)+\.[a-z]{{2,}}", re.IGNORECASE)

_SUFFIXES = (
    *(".evil.example", "@evil.example", ":8443", "/", "/..", "//evil.example", "?x", "#x", "\\evil.example"),
    *("%2eevil.example", "%00", " ", "\n", "\t", ";x", "。evil.example", "\u2024evil.example"),
)
_PREFIXES = ("evil.example/", "evil.example?", "evil.example#", "user@", "user:pw@", "//", "http://", "\\\\")
_VALUES = (
    *("127.0.0.1", "[::1]", "0x7f.1", "evil.example", "https://evil.example", "https://127.0.0.1", "https://[::1]"),
    *("https://169.254.169.254", "..", "../..", "https://"),
)


def url_problem(url: Template, names: Names, patterns: Mapping[str, Pattern | None]) -> str | None:
    """`names` are those known when the definition loads, `patterns` the captured parameters."""
    if all(_fixed(path, patterns) for path in url.paths):
        return None
    forms: list[Form] = [()]
    for part in url.parts:
        options = _forms_of(part, names, patterns)
        if options is None or len(forms) * len(options) > MAX_FORMS:
            return "can become too many different URLs for each to be judged: write the pattern as a list"
        forms = [(*left, *right) for left, right in product(forms, options)]
    chosen = ORIGIN.match(url.leading(names, lambda path: _fixed(path, patterns))) is not None
    for form in map(joined, forms):
        if problem := _form_problem(form, chosen=chosen):
            return problem
    for name in _unencoded(url, patterns):
        if hostile := _hostile(patterns[name]):
            return f"`{name}` would be let through as {hostile!r}"
    return None


def _fixed(path: tuple[str, ...], patterns: Mapping[str, Pattern | None]) -> bool:
    """Known when the definition loads: the admin's."""
    return path[0] == "client" or (path[0] == "p" and path[1] not in patterns)


def _forms_of(part: Choice | str, names: Names, patterns: Mapping[str, Pattern | None]) -> list[Form] | None:
    if isinstance(part, str):
        return [(part,)]
    found: list[Form] = []
    for option in part.options:
        if all(_fixed(path, patterns) for path in option.paths(keys=True)):
            value = option.value(names)
            found += [] if value is None else [(text_of(value),)]
            continue
        forms = _forms_of_unknown(option, patterns)
        if forms is None:
            return None
        found += forms
    return found


def _forms_of_unknown(option: Filtered, patterns: Mapping[str, Pattern | None]) -> list[Form] | None:
    root, *rest = option.operand.steps if isinstance(option.operand, Path) else ("",)
    if option.filters:
        return [(_ENCODED,)] if option.filters[-1][0] == "urlencode" else [(_UNKNOWN,)]
    if root == "d":
        return [(_DISCOVERED,)]
    pattern = patterns.get(rest[0]) if root == "p" and rest else None
    return [(_UNKNOWN,)] if pattern is None else pattern.forms()


def _form_problem(form: Form, *, chosen: bool) -> str | None:
    """`chosen`: scheme, host and port are the admin's."""
    if form[:1] == (_DISCOVERED,):
        return _path_problem(form[1:])
    if chosen:
        return _path_problem(form)
    authority, path = _split(form)
    return _host_problem(authority) or _path_problem(path)


def _split(form: Form) -> tuple[Form, Form]:
    """At the first character that ends an authority (RFC 3986 §3.2)."""
    for index, part in enumerate(form):
        start = len("https://") if index == 0 else 0
        end = re.search(r"[/?#]", part[start:]) if isinstance(part, str) else None
        if end and isinstance(part, str):
            cut = start + end.start()
            return (*form[:index], part[:cut]), (part[cut:], *form[index + 1 :])
    return form, ()


def _host_problem(authority: Form) -> str | None:
    first = authority[0] if authority else ""
    if not isinstance(first, str) or not first.startswith("https://"):
        return "gets its host from a callback or a reply: write all of it but a label here, or list hosts in a pattern"
    parts = (first.removeprefix("https://"), *authority[1:])
    if all(isinstance(part, str) for part in parts):
        host = "".join(map(str, parts))
        return None if _NAME.fullmatch(host) else f"could have the host `{host}`, which is no plain domain name"
    if any(isinstance(part, Run) and (part.chars.others or part.chars.ascii - _LABEL) for part in parts):
        return (
            "lets a callback or a reply add to its host: a pattern without dots, colons, slashes and @ in what varies"
        )
    if not isinstance(parts[-1], str) or not _BELOW.fullmatch(parts[-1]):
        return (
            "lets a callback or a reply end its host: a fixed domain such as `.example.com`, and none like "
            "`.co.uk`, has to follow what varies"
        )
    if any(isinstance(part, str) and not re.fullmatch(r"[A-Za-z0-9_.-]*", part) for part in parts):
        return "holds more than a domain name before its path"
    return None


def _path_problem(path: Form) -> str | None:
    for part in path:
        if part == _UNKNOWN:
            return "holds a value of a reply as it is: write `|urlencode`"
        if isinstance(part, Run) and part != _ENCODED and (part.chars.others or part.chars.ascii - _LABEL - {"~"}):
            return "lets a callback or a reply move in its path: a pattern without dots and slashes, or `|urlencode`"
    return None


def _unencoded(url: Template, patterns: Mapping[str, Pattern | None]) -> Iterator[str]:
    for part in url.parts:
        for option in () if isinstance(part, str) else part.options:
            steps = option.operand.steps if isinstance(option.operand, Path) else ()
            if len(steps) == 2 and steps[0] == "p" and steps[1] in patterns and not option.filters:  # noqa: PLR2004
                yield steps[1]


def _hostile(pattern: Pattern | None) -> str | None:
    """The first hostile value that a pattern admits."""
    if pattern is None:
        return None
    samples = ["".join(_sample(part) for part in form) for form in pattern.forms() or ()]
    tries = (
        *_VALUES,
        *(sample + suffix for sample in samples for suffix in _SUFFIXES),
        *(prefix + sample for sample in samples for prefix in _PREFIXES),
        *(sample.replace("https://", prefix) for sample in samples for prefix in ("http://", "https://x@", "https:/")),
    )
    return next((value for value in tries if value not in samples and pattern.matches(value)), None)


def _sample(part: str | Run) -> str:
    if isinstance(part, str):
        return part
    return "a" if "a" in part.chars or not part.chars.ascii else min(part.chars.ascii)
