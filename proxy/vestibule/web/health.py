"""/health: this process serves. It asks no database, so that a slow one does not get healthy processes restarted."""

from litestar import Response, route
from litestar.enums import HttpMethod

from vestibule.web.responses import json_response


@route("/health", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def health() -> Response[bytes]:
    return json_response({"status": "ok"})
