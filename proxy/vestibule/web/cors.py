"""CORS of the endpoints for programs: open to any origin, because nothing there depends on a cookie.

An ASGI wrapper, because Litestar's CORS is for the whole application, and the pages that people see must not have it.
"""

from typing import Any

from vestibule.oauth.cors import ALLOWED_HEADERS, EXPOSED_HEADERS, MAX_AGE_SECONDS

_OPEN = ("/oauth/token", "/oauth/revoke", "/oauth/register", "/.well-known/")
_EVERY_ANSWER = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()),
]
_PREFLIGHT = [
    *_EVERY_ANSWER,
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", ", ".join(ALLOWED_HEADERS).encode()),
    (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
]


class OpenEndpoints:
    """Answers preflights of the open endpoints and lets any origin read what they answer, refusals included."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_OPEN):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
        else:

            async def opened(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message.get("headers", ()), *_EVERY_ANSWER]}
                await send(message)

            await self._app(scope, receive, opened)
