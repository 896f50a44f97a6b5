"""Whether the permissions of a key cover a request. What no permission matches is denied.

A permission matches by method, path and MCP call; every condition that it has must hold. Compiled once into frozensets
and regular expressions, so that a verdict costs about a microsecond.

On a route where some permission has an `mcp` condition, a POST is judged by its JSON-RPC calls, each of them; the calls
that every MCP client makes before it does anything (`initialize`, `ping`, lists, notifications, responses) and the
session transport of protocol versions up to 2025-11-25 (GET streams, DELETE) need just any permission. That courtesy is
for MCP endpoints: an address that only permissions without an `mcp` condition name in their `paths` is judged as plain
HTTP, or a `ping` in the body would open POST /admin/reset to the narrowest key.
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from urllib.parse import unquote

from msgspec import Struct

from vestibule.config import Match, McpMatch, PermissionConfig
from vestibule.policy.mcp import McpCall
from vestibule.policy.routes import ambiguity

_DEFAULT = {"access": PermissionConfig(title="Full access", default=True)}
_MAX_CACHED_GRANTS = 256

_ALWAYS = frozenset({"", "initialize", "ping", "server/discover"})
_TRANSPORT = frozenset({"GET", "HEAD", "DELETE"})
_METHOD = re.compile(r"[A-Z][A-Z-]*")


class Permission(Struct, frozen=True, kw_only=True):
    """What a user sees and chooses; also the scope value that a client asks for (RFC 6749 §3.3)."""

    id: str
    title: str
    description: str
    default: bool
    scopes: Mapping[str, tuple[str, ...]]
    """Provider scopes that it implies, by provider id."""


class RequestFacts(Struct, frozen=True):
    """What a verdict depends on: `path` is the rest of the raw path after the route's own."""

    method: str
    path: str
    calls: tuple[McpCall, ...] | None
    """From `mcp.parse_calls` for a POST on a route with MCP permissions, else None."""


class Decision(Enum):
    ALLOWED = "allowed"
    DENIED = "denied"
    """No configured permission covers it, so asking the user for more would not help (clients would loop)."""


ALLOWED, DENIED = Decision.ALLOWED, Decision.DENIED


class Missing(Struct, frozen=True):
    """A step-up would help: `permissions` let this request through, all of them in one challenge (RFC 6750 §3.1)."""

    permissions: tuple[str, ...]


Verdict = Decision | Missing


class _Matcher(Struct, frozen=True, kw_only=True):
    """A compiled `match`; None is no condition. Paths are given as `_subject` makes them."""

    id: str
    methods: frozenset[str] | None
    paths: re.Pattern[str] | None
    is_mcp: bool
    mcp_methods: re.Pattern[str] | None
    mcp_tools: re.Pattern[str] | None

    def at(self, path: str | None) -> bool:
        return self.paths is None or (path is not None and self.paths.fullmatch(path) is not None)

    def covers(self, method: str, path: str | None) -> bool:
        return (self.methods is None or method in self.methods) and self.at(path)

    def covers_call(self, call: McpCall) -> bool:
        if not self.is_mcp:
            return True
        pattern, name = (self.mcp_methods, call.method) if call.tool is None else (self.mcp_tools, call.tool)
        return pattern is not None and pattern.fullmatch(name) is not None


class Permissions:
    """All permissions of one route, in the order of the config."""

    def __init__(self, items: tuple[Permission, ...], matchers: tuple[_Matcher, ...]) -> None:
        self.items = items
        self.ids = frozenset(item.id for item in items)
        self.defaults = tuple(item.id for item in items if item.default) or tuple(item.id for item in items)
        """What a client is offered when it names no scope."""
        self.is_mcp = any(matcher.is_mcp for matcher in matchers)
        """True: a POST needs `RequestFacts.calls`."""
        self._matchers = matchers
        self._plain = tuple(matcher for matcher in matchers if not matcher.is_mcp)
        # A courtesy without a better answer asks for a default permission first, not for the first that happens to fit.
        self._by_default = tuple(sorted(matchers, key=lambda matcher: matcher.id not in self.defaults))
        self._has_paths = any(matcher.paths is not None for matcher in matchers)
        self._plain_paths = tuple(matcher for matcher in self._plain if matcher.paths is not None)
        self._mcp_paths = tuple(matcher for matcher in matchers if matcher.is_mcp and matcher.paths is not None)
        self._held: dict[frozenset[str], tuple[_Matcher, ...]] = {}

    def effective(self, granted: Iterable[str]) -> frozenset[str]:
        """Granted and still configured; a new permission is never added to an old grant (design decision 9)."""
        return self.ids.intersection(granted)

    def provider_scopes(self, chosen: Iterable[str], provider_id: str) -> tuple[str, ...]:
        """What a provider is asked for on behalf of the chosen permissions, in the config's order, without repeats."""
        wanted = frozenset(chosen)
        return tuple(
            dict.fromkeys(
                scope for item in self.items if item.id in wanted for scope in item.scopes.get(provider_id, ())
            )
        )

    def needs_calls(self, method: str, path: str) -> bool:
        """Whether this request is judged by its JSON-RPC calls, so that its body has to be read first."""
        return self.is_mcp and method == "POST" and self._is_endpoint(_subject(path) if self._has_paths else "")

    def judge(self, request: RequestFacts, granted: frozenset[str]) -> Verdict:
        """The verdict on one request; a key without an effective permission never passes."""
        held = self._held.get(granted)
        if held is None:
            held = self._hold(granted)
        path = _subject(request.path) if self._has_paths else ""
        if self.is_mcp and self._is_endpoint(path):
            if request.method == "POST":
                return self._judge_calls(request.calls or (), path, held)
            if request.method in _TRANSPORT:
                return self._judge_courtesy(path, held)
        method = request.method
        for matcher in held:
            if not matcher.is_mcp and matcher.covers(method, path):
                return ALLOWED
        return next((Missing((matcher.id,)) for matcher in self._plain if matcher.covers(method, path)), DENIED)

    def _judge_calls(self, calls: tuple[McpCall, ...], path: str | None, held: tuple[_Matcher, ...]) -> Verdict:
        """Every call of a batch must be covered; what is missing is named for the whole batch at once."""
        if not calls:
            return DENIED
        needed: set[str] = set()
        lacking = False
        for call in calls:
            if _is_always_allowed(call):
                continue
            cover = _first(held, call, path)
            if cover is None:
                lacking = True
                cover = _first(self._matchers, call, path)
                if cover is None:
                    return DENIED
            needed.add(cover.id)
        if not needed:
            return self._judge_courtesy(path, held)
        if not lacking:
            return ALLOWED
        return Missing(tuple(item.id for item in self.items if item.id in needed))

    def _judge_courtesy(self, path: str | None, held: tuple[_Matcher, ...]) -> Verdict:
        for matcher in held:
            if matcher.at(path):
                return ALLOWED
        return next((Missing((matcher.id,)) for matcher in self._by_default if matcher.at(path)), DENIED)

    def _is_endpoint(self, path: str | None) -> bool:
        """False for an address that only permissions without an `mcp` condition name in their `paths`."""
        if not self._plain_paths:
            return True
        if path is None:
            return False
        return any(matcher.at(path) for matcher in self._mcp_paths) or not any(
            matcher.at(path) for matcher in self._plain_paths
        )

    def _hold(self, granted: frozenset[str]) -> tuple[_Matcher, ...]:
        held = tuple(matcher for matcher in self._matchers if matcher.id in granted)
        if len(self._held) >= _MAX_CACHED_GRANTS:
            self._held.clear()
        self._held[granted] = held
        return held


def _first(matchers: tuple[_Matcher, ...], call: McpCall, path: str | None) -> _Matcher | None:
    for matcher in matchers:
        if matcher.covers("POST", path) and matcher.covers_call(call):
            return matcher
    return None


def _is_always_allowed(call: McpCall) -> bool:
    return call.tool is None and (
        call.method in _ALWAYS or call.method.startswith("notifications/") or call.method.endswith("/list")
    )


def _subject(path: str) -> str | None:
    """The path as patterns see it: decoded, without a trailing slash; None when it is ambiguous.

    A route may forward ambiguous paths, but no path condition ever holds for one: `/public/../admin` is not public.
    """
    if path in ("", "/"):
        return ""
    if ambiguity(path.encode("utf-8", "surrogatepass")) is not None:
        return None
    return unquote(path).removesuffix("/") if "%" in path else path.removesuffix("/")


# --- compiling -------------------------------------------------------------------------------------------------------


def compile_permissions(raw: Mapping[str, PermissionConfig]) -> Permissions:
    """ValueError, naming permission and condition, for what could never match or would not mean what it says."""
    raw = raw or _DEFAULT
    items = tuple(
        Permission(
            id=name,
            title=config.title,
            description=config.description,
            default=config.default,
            scopes=dict(config.scopes),
        )
        for name, config in raw.items()
    )
    return Permissions(items, tuple(_compile(name, config.match) for name, config in raw.items()))


def _compile(name: str, match: Match) -> _Matcher:
    mcp = match.mcp or McpMatch()
    where = f"{name}.match"
    if match.mcp is not None and match.methods is not None and "POST" not in match.methods:
        raise ValueError(f"{where}: MCP calls are made by POST, which `methods` leaves out")
    return _Matcher(
        id=name,
        methods=None if match.methods is None else _methods(match.methods, where),
        paths=None if match.paths is None else _paths(match.paths, where),
        is_mcp=match.mcp is not None,
        mcp_methods=_names(mcp.methods, f"{where}.mcp.methods"),
        mcp_tools=_names(mcp.tools, f"{where}.mcp.tools"),
    )


def _methods(methods: tuple[str, ...], where: str) -> frozenset[str]:
    """RFC 9110 §9.1: methods are case-sensitive; §9.3.2: HEAD is GET without the content."""
    if not methods:
        raise ValueError(f"{where}.methods: the list is empty, so the permission would match nothing")
    for method in methods:
        if not _METHOD.fullmatch(method):
            raise ValueError(f"{where}.methods: {method!r} is not an HTTP method in upper case")
    return frozenset(methods) | ({"HEAD"} if "GET" in methods else frozenset())


def _names(patterns: tuple[str, ...], where: str) -> re.Pattern[str] | None:
    if "" in patterns:
        raise ValueError(f"{where}: a pattern is empty")
    return _any_of(_wildcard(map(re.escape, pattern.split("*")), ".*") for pattern in patterns) if patterns else None


def _paths(patterns: tuple[str, ...], where: str) -> re.Pattern[str] | None:
    if not patterns:
        raise ValueError(f"{where}.paths: the list is empty, so the permission would match nothing")
    compiled = _any_of(_path(pattern, f"{where}.paths") for pattern in patterns)
    # `/**` is no condition: as one it would name every address, and then none would be an MCP endpoint.
    return None if "/**" in patterns else compiled


def _path(pattern: str, where: str) -> str:
    slug = ambiguity(pattern.encode())
    if slug is not None:
        raise ValueError(f"{where}: {pattern!r} is ambiguous ({slug}); write it as it appears in a URL, from `/` on")
    runs = [""]
    for segment in pattern.removesuffix("/").split("/")[1:]:
        if segment == "**":
            runs.append("")
        elif "**" in segment:
            raise ValueError(f"{where}: {pattern!r}: `**` stands for whole segments only")
        else:
            parts = (re.escape(unquote(part)) for part in segment.split("*"))
            runs[-1] += "/" + _wildcard(parts, "[^/]*") + "(?![^/])"
    return _wildcard(runs, "(?:/[^/]+)*")


def _wildcard(parts: Iterable[str], gap: str) -> str:
    """Fixed parts with gaps between them, in linear time.

    The earliest place for each part leaves the most for the rest, so all but the last are matched lazily and never
    tried again (atomic groups): a hostile name cannot make a pattern with many gaps backtrack.
    """
    first, *rest = parts
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>{gap}?{part})" for part in middle) + gap + last


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.DOTALL)
