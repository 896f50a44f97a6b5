"""/oauth/token, /oauth/revoke, /oauth/register: for programs, so no cookies, and CORS open to any origin."""

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from vestibule.errors import InvalidClientMetadata
from vestibule.oauth.params import parse_form
from vestibule.service import clients, tokens
from vestibule.web.responses import Asgi, Wired, json_response


@post("/oauth/token", status_code=200)
async def token(request: Asgi, gateway: Wired) -> Response[bytes]:
    """RFC 6749 §3.2."""
    params = parse_form(await request.body(), request.headers.get("content-type", ""))
    return json_response(await tokens.issue(gateway, params, request.headers.get("authorization")))


@post("/oauth/revoke", status_code=200)
async def revoke(request: Asgi, gateway: Wired) -> Response[bytes]:
    """RFC 7009 §2."""
    params = parse_form(await request.body(), request.headers.get("content-type", ""))
    await tokens.revoke(gateway, params, request.headers.get("authorization"))
    return json_response({})


@post("/oauth/register", status_code=201)
async def register(request: Asgi, gateway: Wired) -> Response[bytes]:
    """RFC 7591 §3."""
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        raise InvalidClientMetadata("content_type", description="Send the client metadata as application/json.")
    return json_response(await clients.register(gateway, await request.body()), 201)


HANDLERS: list[HTTPRouteHandler] = [token, revoke, register]
