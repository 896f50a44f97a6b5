"""Who may pass: the key of a request, and the permissions that it needs. The refusals are the gate's answers."""

from urllib.parse import unquote_to_bytes

from vestibule.errors import BadRequest, Forbidden, KeyMissing, PermissionMissing
from vestibule.gate.headers import RawHeaders, get_all
from vestibule.gate.http import RequestBody
from vestibule.model import Service
from vestibule.oauth.metadata import challenge
from vestibule.policy.mcp import McpCall, McpHeaders, parse_calls
from vestibule.policy.permissions import ALLOWED, Missing, RequestFacts
from vestibule.service.cache import Admission
from vestibule.service.gateway import Route

MOST_JUDGED_BYTES = 4 << 20
"""The body of an MCP call is read whole before it is judged; a larger one is refused."""


def bearer(headers: RawHeaders, query: bytes) -> str:
    """The key of a request (RFC 6750 §2.1). Raises KeyMissing, BadRequest.

    Keys in the query are refused (OAuth 2.1 §5.1): they end up in logs, histories and Referer headers.
    """
    names = (pair.partition(b"=")[0] for pair in query.split(b"&"))
    if any(name == b"access_token" or (b"%" in name and unquote_to_bytes(name) == b"access_token") for name in names):
        raise BadRequest("key_in_query", description="Send the key in the Authorization header, not in the query.")
    values = get_all(headers, b"authorization")
    if not values:
        raise KeyMissing("key_missing")
    if len(values) > 1:
        raise BadRequest("authorization_repeated")
    scheme, _, key = values[0].partition(b" ")
    if scheme.lower() != b"bearer" or not key.strip():
        raise KeyMissing("key_missing", "Authorization is not Bearer")
    return key.strip().decode("latin-1")


async def judge(
    route: Route, admission: Admission, method: str, rest: bytes, headers: RawHeaders, body: RequestBody
) -> None:
    """Raises PermissionMissing (a step-up would help), Forbidden (it would not), BadRequest (cannot be judged)."""
    calls: tuple[McpCall, ...] | None = None
    path = rest.decode("latin-1")
    if route.permissions.needs_calls(method, path):
        _check_encoding(headers)
        calls = parse_calls(await body.read(MOST_JUDGED_BYTES), _mcp_headers(headers))
    verdict = route.permissions.judge(RequestFacts(method, path, calls), admission.permissions)
    if verdict is ALLOWED:
        return
    if isinstance(verdict, Missing) and not isinstance(admission.principal, Service):
        wanted = admission.permissions.union(verdict.permissions)
        raise PermissionMissing(
            "permission_missing", tuple(item.id for item in route.permissions.items if item.id in wanted)
        )
    raise Forbidden("permission_missing" if isinstance(verdict, Missing) else "not_permitted")


def challenge_for(
    route: Route, rest: bytes, issuer: str, error: str | None, description: str, scope: tuple[str, ...]
) -> bytes:
    """WWW-Authenticate for this route: where the metadata is, and what to ask for."""
    return challenge(
        _metadata_url(route, rest, issuer), scope=scope or route.resource.defaults, error=error, description=description
    ).encode()


def _metadata_url(route: Route, rest: bytes, issuer: str) -> str:
    """RFC 9728 §3.1: the path of the resource follows the well-known part, with the slash that the user typed."""
    path = route.config.path.rstrip("/") + ("/" if rest == b"/" else "")
    return f"{issuer}/.well-known/oauth-protected-resource{path}"


def _check_encoding(headers: RawHeaders) -> None:
    """The body is judged as UTF-8 (RFC 8259 §8.1). A backend that believes a header which says otherwise would read
    another message: in UTF-7, even from the same ASCII bytes.
    """
    for value in get_all(headers, b"content-encoding"):
        if value.strip().lower() not in {b"", b"identity"}:
            raise BadRequest("mcp_body_encoded", "Content-Encoding")
    for value in get_all(headers, b"content-type"):
        for parameter in value.lower().split(b";")[1:]:
            name, _, charset = parameter.strip().partition(b"=")
            if name.startswith(b"charset") and charset.strip(b' \t"') not in {b"utf-8", b"utf8"}:
                raise BadRequest("mcp_body_encoded", "charset")


def _mcp_headers(headers: RawHeaders) -> McpHeaders:
    return McpHeaders(
        protocol_version=_single(headers, b"mcp-protocol-version"),
        method=_single(headers, b"mcp-method"),
        name=_single(headers, b"mcp-name"),
    )


def _single(headers: RawHeaders, name: bytes) -> str | None:
    values = get_all(headers, name)
    if len(values) > 1:
        raise BadRequest("mcp_header_repeated", name.decode())
    return values[0].decode("latin-1") if values else None
