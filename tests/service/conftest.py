"""`world`: a gateway of its own for each test; `settings` changes its config."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.world import World, make_world
from storage.databases import Sqlite
from storage.processes import Contender
from vestibule.storage.database import Database

SQLITE = Sqlite()


@pytest.fixture
def settings() -> dict[str, str]:
    """Texts of the config or the definition to replace; tests override it by parametrizing."""
    return {}


@pytest.fixture
async def world(tmp_path: Path, settings: dict[str, str]) -> AsyncIterator[World]:
    world = await make_world(tmp_path, SQLITE, settings)
    yield world
    await world.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'vestibule.db'}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    await SQLITE.migrate(url)
    database = Database(url)
    yield database
    await database.close()


@pytest.fixture(scope="module")
def other_process() -> Iterator[Contender]:
    process = Contender()
    yield process
    process.close()
