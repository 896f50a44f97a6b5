"""The engine: connections, transactions, migrations.

SQLite runs in WAL mode with `BEGIN IMMEDIATE` for writers: a deferred transaction that reads first and writes later
loses updates or fails with SQLITE_BUSY_SNAPSHOT under concurrency.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_PRAGMAS = ("PRAGMA busy_timeout=5000", "PRAGMA synchronous=NORMAL", "PRAGMA foreign_keys=ON")
_WAL_ATTEMPTS = 100


class Database:
    """`url` is the config's `storage`, e.g. `sqlite:///vestibule.db`."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._aside = _engine(url, pool_size=2, max_overflow=0)
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that holds the write lock from its start; never keep it open across an HTTP call.

        Writers of this process queue up here: left to SQLite they poll for its lock, ten times slower and not fair.
        Shielded against cancellation while it ends: a client that hangs up must not leave a half-closed connection.
        """
        async with self._writing:
            connection = await self.engine.connect()
            try:
                await connection.execution_options(vestibule_write=True)
                async with connection.begin():
                    yield connection
            finally:
                await asyncio.shield(connection.close())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        connection = await self.engine.connect()
        try:
            yield connection
        finally:
            await asyncio.shield(connection.close())

    @asynccontextmanager
    async def read_aside(self) -> AsyncIterator[AsyncConnection]:
        """A read on connections of their own: revocations must not wait behind requests for a free connection."""
        connection = await self._aside.connect()
        try:
            yield connection
        finally:
            await asyncio.shield(connection.close())

    async def migrate(self) -> None:
        """Bring the schema to the newest version; does nothing when it is there already.

        With the write lock from the start: of two processes that start at once, the second waits and finds it done.
        A new SQLite file is for its owner only; the write-ahead log takes over its mode.
        """
        _create(self.engine.url.database)
        async with self.write() as connection:
            await connection.run_sync(_upgrade)

    async def close(self) -> None:
        await self.engine.dispose()
        await self._aside.dispose()


def _engine(url: str, **pool: int) -> AsyncEngine:
    """`hide_parameters`: an error in the log must not show addresses and digests."""
    engine = create_async_engine(
        url.replace("sqlite://", "sqlite+aiosqlite://", 1),
        connect_args={"isolation_level": None},
        hide_parameters=True,
        **pool,
    )
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _create(file: str | None) -> None:
    if file and file != ":memory:":
        Path(file).touch(mode=0o600)


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    # The mode stays in the file, so only a new one is switched. SQLite does not wait for the lock which that needs,
    # whatever the timeout says: of two processes that start on a new file, one would die.
    for attempt in range(1, _WAL_ATTEMPTS + 1):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            if attempt == _WAL_ATTEMPTS:
                raise
            time.sleep(0.05)
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("vestibule_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _upgrade(connection: Connection) -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
