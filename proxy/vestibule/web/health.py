"""/health: this process serves. It asks no database, so that a slow one does not get healthy processes restarted."""

from litestar import Response, get

from vestibule.web.responses import json_response


@get("/health")
async def health() -> Response[bytes]:
    return json_response({"status": "ok"})
