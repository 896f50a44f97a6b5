"""/.well-known/*: what clients discover (RFC 8414, RFC 9728) and the key set of identity JWTs.

The authorization server's metadata is at both root names that clients try. Path-inserted variants answer 404 on
purpose: their issuer would differ from the URL they were derived from, which a strict client must refuse (RFC 8414
§3.3), where a 404 lets it go on to the root.
"""

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from msgspec import structs

from vestibule.oauth import metadata
from vestibule.service.gateway import Gateway, Route
from vestibule.web.responses import Asgi, Wired, json_response

_RESOURCE = "/.well-known/oauth-protected-resource"


@get(
    ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"],
)
async def authorization_server(gateway: Wired) -> Response[bytes]:
    """RFC 8414 §3."""
    scopes = sorted({item.id for route in gateway.routes.values() for item in route.permissions.items})
    registration = gateway.registration
    return _public(
        metadata.authorization_server(gateway.issuer, dcr=registration.dcr, cimd=registration.cimd, scopes=scopes)
    )


@get(_RESOURCE)
async def only_resource(gateway: Wired) -> Response[bytes]:
    """Clients that try the root first (Gemini CLI) find the route at `/`, or the only one there is."""
    routes = list(gateway.routes.values())
    at_root = [route for route in routes if route.config.path == "/"]
    if not at_root and len(routes) != 1:
        raise NotFoundException
    return _resource(gateway, (at_root or routes)[0])


@get(_RESOURCE + "/{path:path}")
async def resource(request: Asgi, gateway: Wired) -> Response[bytes]:
    """RFC 9728 §3.1: the route of exactly this path. A user who typed the URL with a slash is told it with a slash:
    `resource` has to equal what was typed (§3.3), and strict clients compare strings.
    """
    path = request.scope["raw_path"].decode("latin-1").removeprefix(_RESOURCE)
    for route in gateway.routes.values():
        if route.config.path.rstrip("/") == path.removesuffix("/"):
            return _resource(gateway, route, slash="/" if path.endswith("/") else "")
    raise NotFoundException


@get("/.well-known/jwks.json")
async def jwks(gateway: Wired) -> Response[bytes]:
    """RFC 7517 §5: the public keys of the identity JWTs that backends receive."""
    return _public(gateway.identity_keys.jwks())


def _resource(gateway: Gateway, route: Route, slash: str = "") -> Response[bytes]:
    typed = structs.replace(route.resource, url=route.resource.url + slash)
    return _public(metadata.protected_resource(typed, gateway.issuer, route.config.title or route.id))


def _public(document: object) -> Response[bytes]:
    return json_response(document, headers={"cache-control": "public, max-age=300"})


HANDLERS: list[HTTPRouteHandler] = [authorization_server, only_resource, resource, jwks]
