"""Starts the three servers of `vestibule dev` and tells what to do with them.

The config is written out and read back by the same loader as any other, so what people see in it is what runs.
"""

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table

from vestibule import app, logs, server
from vestibule.crypto import random
from vestibule.dev.provider import DevelopmentProvider
from vestibule.loading import load_config

HOST = "127.0.0.1"
INSPECTOR = ["http://localhost:6274", "http://127.0.0.1:6274"]
"""The MCP Inspector's page, so that it can be tried from a browser."""
_PERMISSIONS = {
    "read": {
        "title": "Read notes",
        "description": "List the notes, and see who you are to the backend.",
        "default": True,
        "match": {"mcp": {"tools": ["list_*", "get_*"]}},
    },
    "write": {
        "title": "Write notes",
        "description": "Everything, adding notes included.",
        "match": {"mcp": {"tools": ["*"], "methods": ["*"]}},
    },
}


def run(port: int, backend: str | None) -> None:
    """Blocks until SIGINT or SIGTERM; what was made in between is deleted."""
    logs.configure(pretty=True)
    # uvicorn raises the signal once more when it has stopped, and SIGTERM's default would leave the directory behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vestibule.")))
        provider = stack.enter_context(serving(DevelopmentProvider().app()))
        if backend is None:
            from vestibule.dev.demo import demo_app  # noqa: PLC0415  # the mcp package is needed for the demo only

            demo = stack.enter_context(serving(demo_app())) + "/mcp"
        listener = stack.enter_context(contextlib.closing(_listen(port)))
        port = listener.getsockname()[1]
        config = _config(f"http://{HOST}:{port}", directory, provider, backend or demo, demo=backend is None)
        path = directory / "vestibule.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        loaded = load_config(path, {})
        hosts = frozenset(f"{name}:{port}" for name in (HOST, "localhost"))
        gateway = server.server(app.build(loaded, hosts=hosts).asgi, HOST, port)
        Console(stderr=True).print(_welcome(config, path, demo=backend is None))
        gateway.run(sockets=[listener])


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """An ASGI application on an ephemeral loopback port, in a thread of its own; yields its URL."""
    with contextlib.closing(_listen(0)) as listener:
        netloc = f"{HOST}:{listener.getsockname()[1]}"
        running = server.server(_only_as(netloc, application), HOST, 0)
        thread = threading.Thread(target=_serve, args=(running, listener), daemon=True)
        thread.start()
        try:
            yield f"http://{netloc}"
        finally:
            running.should_exit = True
            thread.join(timeout=5)


def _only_as(netloc: str, application: Any) -> Any:
    """Neither the provider nor the demo server knows who asks, so a page whose name was rebound to loopback must not
    reach them: any other Host is refused, as the gateway does it.
    """

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and dict(scope["headers"]).get(b"host") != netloc.encode():
            await send({"type": "http.response.start", "status": 421, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await application(scope, receive, send)

    return guarded


def _serve(running: uvicorn.Server, listener: socket.socket) -> None:
    asyncio.run(running.serve(sockets=[listener]))


def _listen(port: int) -> socket.socket:
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # without it asyncio leaves Nagle on: 40 ms an answer
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen(128)  # before anybody is told the port, so that the first request waits instead of failing
    return listener


def _config(url: str, directory: Path, provider: str, backend: str, *, demo: bool) -> dict[str, Any]:
    route: dict[str, Any] = {
        "id": "demo",
        "title": "Demo notes" if demo else "Your backend",
        "path": "/mcp",
        "backend": backend,
        "providers": ["development"],
        "allow": "anyone",
        "origins": INSPECTOR,
        "send": {"headers": {"X-User-Id": "sub", "X-User-Email": "email", "X-User-Name": "name"}},
    }
    if demo:
        route["permissions"] = _PERMISSIONS
    return {
        "public_url": url,
        "storage": f"sqlite:///{directory / 'vestibule.db'}",
        "secrets": {"signing": [random.token()], "sealing": [random.token()]},
        "providers": {"development": {"params": {"base": provider}, "client": {"id": "vestibule", "secret": "dev"}}},
        "routes": [route],
    }


def _welcome(config: dict[str, Any], path: Path, *, demo: bool) -> Panel:
    url = f"{config['public_url']}/mcp"
    steps = Table.grid(padding=(0, 1))
    for number, text in enumerate(
        (
            f"Give this URL to an MCP client:\n[bold cyan]{url}[/]",
            f"For example:\n[green]claude mcp add --transport http demo {url}[/]",
            "It finds the sign-in by itself and opens your browser:\nchoose permissions, then who you want to be.",
            "Ask it to list the notes; [bold]add_note[/] is refused until you allow [bold]write[/]."
            if demo
            else "Its calls arrive with X-User-* headers and without its key at\n"
            f"[bold]{config['routes'][0]['backend']}[/]",
        ),
        1,
    ):
        steps.add_row(f"[dim]{number}.[/]", text)
    note = f"[dim]Loopback only; everything is forgotten at the end (Ctrl-C). The config that runs:\n{path}[/]"
    return Panel.fit(Group(steps, "", note), title="[bold]vestibule dev[/]", border_style="cyan", padding=(1, 2))
