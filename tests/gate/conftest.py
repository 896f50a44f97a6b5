"""One gateway for all tests of the gate, with a route for each kind of setting, in front of a backend of raw bytes."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog

from gate.backend import Backend
from gate.running import Running, running
from vestibule.config import Timeouts

HERE = Path(__file__).parent
SECOND = 0.2
"""How long a second of the config lasts in the tests of time limits."""
DEFINITION = """\
title: Acme
authorize: {url: "https://id.acme.com/authorize"}
token: {url: "https://id.acme.com/token"}
identity:
  calls: {me: {url: "https://id.acme.com/me"}}
  map: {sub: me.id}
"""
CONFIG = """\
public_url: https://gate.example.com
providers:
  acme: {definition: ./acme.yaml, client: {id: app, secret: acme-client-secret}}
routes:
  - id: api
    path: /api
    backend: http://127.0.0.1:PORT/v1/
    providers: [acme]
    allow: [{provider: acme}, {service: "*"}]
    origins: ["https://app.example.com"]
    send:
      headers: {X-User-Id: sub, X-User-Email: email, X-User-Name: name, X_Groups: groups}
  - id: admin
    path: /api/admin
    backend: http://127.0.0.1:PORT/admin
    providers: [acme]
    allow: [{provider: acme}]
  - id: mcp
    path: /mcp
    backend: http://127.0.0.1:PORT/mcp
    providers: [acme]
    allow: [{provider: acme}, {service: "*"}]
    origins: ["https://app.example.com"]
    permissions:
      read: {title: Read, default: true, match: {mcp: {tools: ["get_*", "list_*"]}}}
      write: {title: Write, match: {mcp: {tools: ["put_*"]}}}
  - id: items
    path: /items
    backend: http://127.0.0.1:PORT
    providers: [acme]
    allow: [{provider: acme}, {service: "*"}]
    permissions:
      read: {title: Read, default: true, match: {methods: [GET]}}
      write: {title: Write, match: {methods: [POST], paths: ["/**"]}}
  - id: pages
    path: /pages
    backend: http://127.0.0.1:PORT/pages
    providers: [acme]
    allow: anyone
    allow_html: true
  - id: lax
    path: /lax
    backend: http://127.0.0.1:PORT/lax
    providers: [acme]
    allow: anyone
    allow_ambiguous_paths: true
  - id: small
    path: /small
    backend: http://127.0.0.1:PORT/small
    providers: [acme]
    allow: anyone
    max_body_bytes: 1000
  - id: hasty
    path: /hasty
    backend: http://127.0.0.1:PORT/hasty
    providers: [acme]
    allow: anyone
    timeouts: {connect: 1, first_byte: 1, idle: 1}
  - id: patient
    path: /patient
    backend: http://127.0.0.1:PORT/patient
    providers: [acme]
    allow: anyone
    timeouts: {first_byte: 30, idle: 1}
  - id: static
    path: /static
    backend: http://127.0.0.1:PORT/static
    providers: [acme]
    allow: anyone
    send: {authorization: {static: "Bearer of-the-backend"}}
  - id: signed
    path: /signed
    backend: http://127.0.0.1:PORT/signed
    providers: [acme]
    allow: anyone
    send: {authorization: signed_jwt}
  - id: down
    path: /down
    backend: http://127.0.0.1:1/
    providers: [acme]
    allow: anyone
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The gateway is shared, and so is the loop that it runs in."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("asyncio") is not None:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gate(shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    directory = tmp_path_factory.mktemp("gate")
    (directory / "acme.yaml").write_text(DEFINITION, encoding="utf-8")
    async with running(directory, CONFIG.replace("PORT", str(shared_backend.port))) as gate:
        for name in ("hasty", "patient"):
            target = gate.dispatcher._backends[name]
            seconds = {field: getattr(target._timeouts, field) * SECOND for field in Timeouts.__struct_fields__}
            target._timeouts = Timeouts(**seconds)
        yield gate


@pytest.fixture
def backend(shared_backend: Backend) -> Iterator[Backend]:
    """The backend, which has forgotten what earlier tests made of it."""
    shared_backend.forget()
    yield shared_backend
    shared_backend.forget()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Everything logged during the test, with what is bound to the request."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as entries:
        yield entries
