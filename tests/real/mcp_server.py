"""The backend: a real MCP server at /mcp, a plain HTTP API under /api, and /seen, which tells what arrived.

`python -m real.mcp_server PORT`. `/seen` is how a test proves that a client's key never arrived and which identity did.
Streams end late on purpose: `/seen` also tells whether a request was answered in full or broken off by its sender.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STEP_SECONDS = 0.1
ISSUES = {1: "Login page is blank", 2: "Search is slow"}
EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HTML = "<!doctype html><title>Backend</title><script>document.title = 'ran'</script><p>A page of the backend."

seen: list[dict[str, Any]] = []
mcp = MCPServer("issues")


def pairs(headers: list[tuple[bytes, bytes]]) -> list[list[str]]:
    """Order and repeats kept; latin-1, because header bytes are no text (RFC 9110 §5.5)."""
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


@mcp.tool()
def get_issue(number: int) -> str:
    """One issue's title."""
    return ISSUES[number]


@mcp.tool()
def list_issues() -> list[str]:
    """All titles."""
    return list(ISSUES.values())


@mcp.tool()
def create_issue(title: str) -> int:
    """The number of the new issue."""
    number = max(ISSUES) + 1
    ISSUES[number] = title
    return number


@mcp.tool()
async def watch_issues(steps: int, ctx: Context) -> str:
    """Slow: tells its progress before each step, so the answer is a stream of server-sent events."""
    for step in range(steps):
        await ctx.report_progress(step, steps, f"step {step}")
        await asyncio.sleep(STEP_SECONDS)
    return f"watched {steps} steps"


@mcp.tool()
def whoami(ctx: Context) -> list[list[str]]:
    """The HTTP headers with which this very call arrived here."""
    return pairs(ctx.request_context.request.headers.raw)


async def echo(request: Request) -> JSONResponse:
    """The request as it arrived, nothing decoded. The body is latin-1 text, so that every byte survives JSON."""
    return JSONResponse(
        {
            "method": request.method,
            "path": request.scope["raw_path"].decode("latin-1"),
            "query": request.scope["query_string"].decode("latin-1"),
            "headers": pairs(request.scope["headers"]),
            "body": (await request.body()).decode("latin-1"),
        }
    )


async def stream(request: Request) -> StreamingResponse:
    """Server-sent events, one per step: `?events=N`, ten of them by default."""

    async def events() -> AsyncIterator[str]:
        for number in range(int(request.query_params.get("events", "10"))):
            yield f"id: {number}\ndata: {json.dumps({'number': number})}\n\n"
            await asyncio.sleep(STEP_SECONDS)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(HTML)


async def tell_seen(request: Request) -> Response:
    """GET: everything so far. DELETE: forget it."""
    if request.method == "DELETE":
        seen.clear()
    return JSONResponse(seen)


def recording(app: ASGIApp) -> ASGIApp:
    """Notes every request but those to /seen: `outcome` is `open`, then `complete`, or `broken` if the sender left."""

    async def record(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/seen":
            await app(scope, receive, send)
            return
        entry = {
            "method": scope["method"],
            "path": scope["raw_path"].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "headers": pairs(scope["headers"]),
            "outcome": "open",
        }
        seen.append(entry)

        async def note(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                entry["outcome"] = "complete"

        try:
            await app(scope, receive, note)
        finally:
            if entry["outcome"] == "open":
                entry["outcome"] = "broken"

    return record


def application() -> ASGIApp:
    loopback = TransportSecuritySettings(
        allowed_hosts=["127.0.0.1:*", "localhost:*"], allowed_origins=["http://127.0.0.1:*", "http://localhost:*"]
    )
    mcp_app = mcp.streamable_http_app(transport_security=loopback)
    routes = [
        Route("/seen", tell_seen, methods=["GET", "DELETE"]),
        Route("/api/stream", stream),
        Route("/api/html", page),
        Route("/api/echo", echo, methods=EVERY_METHOD),
        Route("/api/echo/{rest:path}", echo, methods=EVERY_METHOD),
        Mount("/", mcp_app),
    ]
    return recording(Starlette(routes=routes, lifespan=lambda _: mcp.session_manager.run()))


if __name__ == "__main__":
    uvicorn.run(application(), host="127.0.0.1", port=int(sys.argv[1]), log_level="info", timeout_graceful_shutdown=2)
