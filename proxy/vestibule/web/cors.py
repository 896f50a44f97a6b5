"""CORS of the endpoints for programs: open to any origin, because nothing there depends on a cookie."""

from typing import Any

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from vestibule.oauth.cors import ALLOWED_HEADERS, EXPOSED_HEADERS, MAX_AGE_SECONDS


def open_to_all(response: Response[Any]) -> Response[Any]:
    """Any origin may read this answer, refusals included; no credentials, so no cookie is ever involved."""
    response.headers["access-control-allow-origin"] = "*"
    response.headers["access-control-expose-headers"] = ", ".join(EXPOSED_HEADERS)
    return response


def preflight(path: str) -> HTTPRouteHandler:
    """OPTIONS of one path, answered without authentication."""

    @route(path, http_method=[HttpMethod.OPTIONS], status_code=204, name=f"preflight {path}")
    async def answer() -> Response[None]:
        response: Response[None] = Response(None, status_code=204)
        response.headers["access-control-allow-methods"] = "GET, POST, OPTIONS"
        response.headers["access-control-allow-headers"] = ", ".join(ALLOWED_HEADERS)
        response.headers["access-control-max-age"] = str(MAX_AGE_SECONDS)
        return open_to_all(response)

    return answer
