"""Fixtures of the end-to-end tests: real providers, a real backend, and the gateway as its users run it."""

import importlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from real.django_provider import DjangoProvider
from real.gateway import Gateway
from real.mcp_backend import McpBackend
from real.mock_server import MockServer
from real.node_server import node_scripts
from real.oidc_mock import OidcProvider
from real.oidc_provider import CertifiedProvider
from real.processes import Server, need

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts servers."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("real")


PRINTED_BEFORE = pytest.StashKey[dict[Server, int]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[PRINTED_BEFORE] = {server: server.printed() for server in Server.running}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the servers printed meanwhile, which is where its reason is."""
    report = yield
    if report.failed:
        before = item.stash.get(PRINTED_BEFORE, {})
        for server in Server.running:
            title = f"output of {server.name} at {server.url}"
            report.sections.append((title, server.output(since=before.get(server, 0))))
    return report


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def django_provider(servers_directory: Path) -> Iterator[DjangoProvider]:
    """The Sentry-shaped provider, with tokens of an hour; for other lifetimes see `start`."""
    need("oauth2_provider")
    with DjangoProvider(servers_directory) as provider:
        yield provider


@pytest.fixture(scope="session")
def oidc_provider(servers_directory: Path) -> Iterator[OidcProvider]:
    """The Clerk-shaped provider; clients have to register."""
    need("oidc_provider_mock")
    with OidcProvider(servers_directory) as provider:
        yield provider


@pytest.fixture(scope="session")
def scripts(servers_directory: Path) -> Path:
    """Where servers in JavaScript run."""
    return node_scripts(servers_directory)


@pytest.fixture(scope="session")
def certified_provider(scripts: Path) -> Iterator[CertifiedProvider]:
    """The certified OpenID provider; clients have to register."""
    with CertifiedProvider(scripts) as provider:
        yield provider


@pytest.fixture(scope="session")
def mock_server(scripts: Path) -> Iterator[MockServer]:
    """The provider whose answers can be spoilt."""
    with MockServer(scripts) as provider:
        yield provider


@pytest.fixture(scope="session")
def _mcp_backend(servers_directory: Path) -> Iterator[McpBackend]:
    need("mcp")
    with McpBackend(servers_directory) as backend:
        yield backend


@pytest.fixture
def mcp_backend(_mcp_backend: McpBackend) -> McpBackend:
    """The backend, which has forgotten what earlier tests sent."""
    _mcp_backend.forget()
    return _mcp_backend


@pytest.fixture(scope="session")
def mcp_client() -> ModuleType:
    """The module `mcp_client`, which cannot be imported where the `mcp` package is missing."""
    need("mcp")
    return importlib.import_module("real.mcp_client")


@pytest.fixture
def start() -> Iterator[Callable[[Server], Server]]:
    """`start(DjangoProvider(tmp_path, token_seconds=5))`: a server for this test alone."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """`gateway(config)` or `gateway(config, env={…})`: a running gateway; it ends with the test."""
    need("vestibule")
    with ExitStack() as stack:

        def serve(config: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Gateway:
            return stack.enter_context(Gateway(config, tmp_path, env))

        yield serve
