"""One suite for every database of `databases.DATABASES`, and two processes that compete for its rows."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.databases import DATABASES, Kind
from vestibule.storage.database import Database

TESTS = Path(__file__).parents[1]


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


class Contender:
    """A second process on the same database; see `contender.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "storage.contender"],
            cwd=TESTS,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: Any) -> None:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        line = self._process.stdout.readline()
        assert line, "the other process died; its output is above"
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def contenders() -> Iterator[list[Contender]]:
    """Two processes, started once."""
    processes = [Contender(), Contender()]
    yield processes
    for process in processes:
        process.close()
