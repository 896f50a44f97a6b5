"""Keeps the key cache true: reads the revocation log after every commit of ours, and whenever another process wrote.

SQLite has no NOTIFY; `PRAGMA data_version` on a connection of its own changes when anybody else commits, and costs a
few microseconds. It is asked off the request path, twenty times a second.
"""

import asyncio

import structlog

from vestibule.service.cache import Admission, KeyCache
from vestibule.storage import revocations
from vestibule.storage.database import Database

POLL_SECONDS = 0.05
RETRY_SECONDS = 1.0
log = structlog.get_logger("vestibule.revocations")


class RevocationLog:
    """The last number this process has acted upon."""

    def __init__(self, database: Database, cache: KeyCache) -> None:
        self._database = database
        self._cache = cache
        self._seen = 0
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        async with self._database.read_aside() as db:
            self._seen = await revocations.latest(db)

    async def catch_up(self) -> None:
        """Drop from the cache all that was revoked since the last call; returns when it is effective here."""
        async with self._lock, self._database.read_aside() as db:
            rows = await revocations.since(db, self._seen)
            if not rows:
                return
            subjects = {(kind, subject) for _, kind, subject in rows}
            self._cache.forget(lambda entry: bool(_names(entry) & subjects))
            self._seen = rows[-1][0]
            log.info("revocations_applied", count=len(rows))

    async def watch(self) -> None:
        """Run until cancelled. If the database cannot be read, revocations may be missed: nothing cached is trusted."""
        while True:
            try:
                async with self._database.read_aside() as db:
                    version = -1
                    while True:
                        result = await db.exec_driver_sql("PRAGMA data_version")
                        found = result.scalar_one()
                        await db.rollback()
                        if found != version:
                            version = found
                            await self.catch_up()
                        await asyncio.sleep(POLL_SECONDS)
            except Exception:
                log.exception("revocation_watch_lost", action="cache cleared, retrying")
                self._cache.clear()
                await asyncio.sleep(RETRY_SECONDS)


def _names(entry: Admission) -> set[tuple[str, str]]:
    names = {(revocations.KEY, entry.key.id)}
    if entry.key.family_id:
        names.add((revocations.FAMILY, entry.key.family_id))
    return names
