"""Every database that the storage suite runs on. Another kind is one more entry of `DATABASES`; no test changes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from vestibule.storage.database import Database


class Kind(Protocol):
    def empty(self, directory: Path) -> AbstractContextManager[str]:
        """The URL of a new database without any table; it is gone at the end."""

    async def migrate(self, url: str) -> None:
        """What `Database.migrate` makes of an empty one; may be a copy of what it made before, which is faster."""


class Sqlite:
    _migrated = b""

    @contextmanager
    def empty(self, directory: Path) -> Iterator[str]:
        yield f"sqlite:///{directory / 'vestibule.db'}"

    async def migrate(self, url: str) -> None:
        file = Path(url.removeprefix("sqlite:///"))
        if self._migrated:
            file.write_bytes(self._migrated)  # noqa: ASYNC240  # nobody else waits
            return
        database = Database(url)
        await database.migrate()
        await database.close()
        self._migrated = file.read_bytes()  # noqa: ASYNC240


DATABASES: dict[str, Kind] = {"sqlite": Sqlite()}
