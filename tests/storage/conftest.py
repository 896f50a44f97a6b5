"""One suite for every database: an entry of `DATABASES` gives the URL of an empty one, and nothing else differs."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from vestibule.storage.database import Database

TESTS = Path(__file__).parents[1]


@contextmanager
def sqlite(directory: Path) -> Iterator[str]:
    yield f"sqlite:///{directory / 'vestibule.db'}"


DATABASES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {"sqlite": sqlite}


@pytest.fixture(params=DATABASES)
def url(request, tmp_path: Path) -> Iterator[str]:
    """An empty database without any table."""
    with DATABASES[request.param](tmp_path) as url:
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await database.migrate()
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
