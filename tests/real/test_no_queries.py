"""Design decision 16: a request whose key is in the cache costs no database query, counted at the database driver.

The gateway runs in the test's own event loop, behind a real uvicorn on a loopback port, because statements can only be
counted from inside. Counted is everything that SQLAlchemy hands to the driver, `BEGIN` too. Left out is nothing but the
revocation watcher, which asks off the request path: on the one connection that it keeps, `PRAGMA data_version` and the
`BEGIN` around it; whatever else ran there would be counted.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from real.django_provider import DjangoProvider
from real.mcp_backend import McpBackend
from real.oauth_client import REDIRECT_URI, OAuthClient, bearer, send, tool_call
from real.person import Person
from real.processes import need
from real.shapes import IDENTITY_HEADERS, PERMISSIONS, SENTRY, gateway_with, route, sentry_shaped

need("vestibule")

from vestibule import app, server  # noqa: E402  # only where it is installed
from vestibule.loading import load_config  # noqa: E402

REQUESTS = 50
WATCHER = "PRAGMA data_version"
ROUTES = {
    "plain": ("/plain", {"headers": IDENTITY_HEADERS}),
    "with a signed identity": ("/signed", {"authorization": "signed_jwt"}),
    "with the provider's token": ("/own", {"authorization": {"provider_token": "sentry"}}),
}


class Statements:
    """What the driver was given, by connection."""

    def __init__(self, engine: Any) -> None:
        self._all: list[tuple[int, str]] = []
        event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        self._all.append((id(connection.connection.dbapi_connection), statement))

    def forget(self) -> None:
        self._all.clear()

    async def rest(self) -> None:
        """The watcher reads the log of revocations once more after the sign-in's own commits."""
        told = -1
        while told != len(self.asked()):
            told = len(self.asked())
            await asyncio.sleep(0.2)
        self.forget()

    def asked(self) -> list[str]:
        watchers = {connection for connection, statement in self._all if statement == WATCHER}
        return [
            statement
            for connection, statement in self._all
            if not (connection in watchers and statement in {WATCHER, "BEGIN"})
        ]


@contextlib.asynccontextmanager
async def running(directory: Path, provider: DjangoProvider, backend: McpBackend) -> AsyncIterator[tuple[str, Any]]:
    """The gateway of a config file as `vestibule serve` builds it; yields its URL and its engine."""
    routes = [
        route(path[1:], path, backend.mcp_url, providers=["sentry"], permissions=PERMISSIONS, send=sends)
        for path, sends in ROUTES.values()
    ]
    clients = [{"id": "desk", "name": "Desk", "redirect_uris": [REDIRECT_URI]}]
    written = gateway_with(
        directory, lambda _: {"providers": {"sentry": sentry_shaped(provider)}, "routes": routes, "clients": clients}
    )
    application = app.build(load_config(written.config_file, {}))
    with contextlib.closing(socket.create_server(("127.0.0.1", written.port))) as listener:
        serving = server.server(application.asgi, "127.0.0.1", written.port)
        task = asyncio.create_task(serving.serve(sockets=[listener]))
        try:
            yield written.url, application.gateway.database.engine.sync_engine
        finally:
            serving.should_exit = True
            await task


@pytest.mark.parametrize("kind", ROUTES)
async def test_a_request_with_a_cached_key_asks_no_database(kind, tmp_path, django_provider, mcp_backend):
    """50 requests after the first: 0 statements, on every kind of route; the first one shows that the count works."""
    path, _ = ROUTES[kind]
    async with running(tmp_path, django_provider, mcp_backend) as (url, engine):
        statements = Statements(engine)
        tokens = await OAuthClient(url, "desk").sign_in(Person(SENTRY.approving()), path)
        request = tool_call("list_issues")
        request["headers"] |= bearer(tokens["access_token"])
        await statements.rest()
        assert (await send("POST", url + path, **request)).status_code == 200
        assert any("FROM keys" in statement for statement in statements.asked())

        statements.forget()
        replies = [(await send("POST", url + path, **request)).status_code for _ in range(REQUESTS)]
        assert replies == [200] * REQUESTS
        assert statements.asked() == []
    arrived = [dict(seen["headers"]).get("authorization", "") for seen in mcp_backend.seen()]
    assert len(arrived) == REQUESTS + 1
    assert not any(tokens["access_token"] in header for header in arrived)
    assert all(arrived) == (kind != "plain")
