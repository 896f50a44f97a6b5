"""One suite for every database of `databases.DATABASES`, and two processes that compete for its rows."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from storage.databases import DATABASES, Kind
from storage.processes import Contender, two_processes
from vestibule.storage.database import Database


@pytest.fixture(params=DATABASES)
def kind(request) -> Kind:
    return DATABASES[request.param]


@pytest.fixture
def url(kind: Kind, tmp_path: Path) -> Iterator[str]:
    """An empty database without any table."""
    with kind.empty(tmp_path) as url:
        yield url


@pytest.fixture
async def database(kind: Kind, url: str) -> AsyncIterator[Database]:
    await kind.migrate(url)
    database = Database(url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
def contenders() -> Iterator[list[Contender]]:
    with two_processes() as processes:
        yield processes
