"""Two gateways, https and http loopback, in front of one development provider that runs for real."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog

from gate.running import Running, running, serving
from vestibule.dev.provider import DevelopmentProvider
from web.browser import Browser

HERE = Path(__file__).parent
SECRET = "portal-secret-of-32-random-characters"
DEFINITION = """\
title: Acme
authorize: {url: "http://127.0.0.1:PORT/authorize"}
token: {url: "http://127.0.0.1:PORT/token"}
identity:
  calls: {userinfo: {url: "http://127.0.0.1:PORT/userinfo"}}
  map: {sub: userinfo.sub, email: userinfo.email, email_verified: userinfo.email_verified, name: userinfo.name}
"""
PROVIDERS = """\
providers:
  acme: {definition: ./acme.yaml, client: {id: app, secret: acme-client-secret}}
  down: {definition: ./down.yaml, client: {id: app, secret: acme-client-secret}}
"""
CONFIG = (
    """\
public_url: https://gate.example.com
"""
    + PROVIDERS
    + """\
routes:
  - id: mcp
    title: Issues
    path: /mcp
    backend: http://127.0.0.1:1
    providers: [acme, down]
    allow: [{email_domain: example.com}]
    permissions:
      read: {title: Read issues, default: true}
      write: {title: Change issues}
  - id: solo
    path: /solo/deep
    backend: http://127.0.0.1:1
    providers: [acme]
    allow: anyone
clients:
  - {id: portal, name: Portal, redirect_uris: ["https://portal.example.com/callback"], secret: SECRET}
  - {id: public, name: Public, redirect_uris: ["https://portal.example.com/callback"]}
  - id: trusted
    name: Trusted
    redirect_uris: ["https://portal.example.com/callback"]
    secret: SECRET
    consent: trusted
"""
).replace("SECRET", SECRET)
LOOPBACK = (
    """\
public_url: http://localhost:8000
"""
    + PROVIDERS
    + """\
routes:
  - id: mcp
    path: /mcp
    backend: http://127.0.0.1:1
    providers: [acme]
    allow: anyone
clients:
  - {id: public, name: Public, redirect_uris: ["https://portal.example.com/callback"]}
registration: {dcr: false}
"""
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The gateways are shared, and so is the loop that they run in."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("asyncio") is not None:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def provider() -> AsyncIterator[str]:
    """Its URL; it signs in whom the test names."""
    async with serving(DevelopmentProvider().app()) as port:
        yield f"http://127.0.0.1:{port}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def directory(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("web")
    (found / "acme.yaml").write_text(DEFINITION.replace("PORT", provider.rpartition(":")[2]), encoding="utf-8")
    (found / "down.yaml").write_text(DEFINITION.replace("PORT", "1"), encoding="utf-8")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(directory: Path) -> AsyncIterator[Running]:
    async with running(directory, CONFIG) as site:
        yield site


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def loopback_site(directory: Path) -> AsyncIterator[Running]:
    """Http on loopback, one route, no dynamic registration."""
    async with running(directory, LOOPBACK) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def browser(site: Running, provider: str) -> AsyncIterator[Browser]:
    async with Browser(site, provider) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def other_browser(site: Running, provider: str) -> AsyncIterator[Browser]:
    """Somebody else's."""
    async with Browser(site, provider) as browser:
        yield browser


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as entries:
        yield entries
