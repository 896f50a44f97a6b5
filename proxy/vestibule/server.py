"""uvicorn as a library, with settings that a gateway needs.

httptools (llhttp) is pinned: it refuses what request smuggling lives on, and is several times faster than h11; what it
lets through (missing or repeated Host) the dispatcher checks. `proxy_headers` is off: X-Forwarded-* is never believed.
"""

import sys
from typing import Any

import uvicorn

GRACE_SECONDS = 20
"""How long open requests may go on after SIGTERM."""


def server(app: Any, host: str, port: int, *, lifespan: bool = True) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        ws="none",
        loop="asyncio",
        lifespan="on" if lifespan else "off",
        proxy_headers=False,
        server_header=False,
        date_header=False,  # a backend's Date passes; the dispatcher adds one where there is none
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def run(app: Any, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; exit code 3 if it could not start, as uvicorn's own command does."""
    running = server(app, host, port)
    running.run()
    if not running.started:
        sys.exit(3)
