"""Which route a request is for (RFC 8707): named by its exact URL, or omitted where only one could be meant.

A key is bound to one route, so a parent URL is never taken for its children and several resources are never merged.
"""

from collections.abc import Sequence

from msgspec import Struct

from vestibule.errors import InvalidTarget
from vestibule.oauth.uris import UriProblem, parse_uri

_DEFAULT_PORTS = {"https": 443, "http": 80}


class Resource(Struct, frozen=True, kw_only=True):
    """A gated route as clients see it."""

    route: str
    url: str
    permissions: tuple[str, ...]
    defaults: tuple[str, ...]
    """What is asked for when a client names no permission."""


def canonical(uri: str) -> str | None:
    """The one spelling of a resource identifier; None if it is not one (RFC 8707 §2: absolute, no fragment).

    Case of scheme and host, the default port and one trailing slash vary between clients and mean nothing (RFC 3986
    §6.2.2, §6.2.3). A query is refused: §2 advises against it, and our routes have none.
    """
    try:
        parsed = parse_uri(uri)
    except UriProblem:
        return None
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.host or parsed.query is not None:
        return None
    port = "" if parsed.port in (None, _DEFAULT_PORTS[parsed.scheme]) else f":{parsed.port}"
    return f"{parsed.scheme}://{parsed.host}{port}{parsed.path.removesuffix('/')}"


def requested_resource(requested: tuple[str, ...]) -> str | None:
    """The one resource that a request names, canonical; None if it names none. Both endpoints use it (§2.1, §2.2)."""
    if not requested:
        return None
    named = {canonical(uri) for uri in requested}
    only = named.pop()
    if named:
        raise InvalidTarget("resource_several", "a key is bound to one resource")
    if only is None:
        raise InvalidTarget("resource_malformed")
    return only


def find_resource(resources: Sequence[Resource], requested: tuple[str, ...]) -> Resource:
    """RFC 8707 §2: unknown or unclear is `invalid_target`, before anything is stored or consumed."""
    wanted = requested_resource(requested)
    if wanted is None:
        if len(resources) != 1:
            raise InvalidTarget("resource_missing", "several routes exist, so one must be named")
        return resources[0]
    for resource in resources:
        if canonical(resource.url) == wanted:
            return resource
    raise InvalidTarget("resource_unknown")
