"""Races for rows that only one caller may win: in this process by tasks, or as a process of its own among others.

As a program it reads commands, one JSON object a line, and answers each with one line.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import NOW
from vestibule.storage import codes, connections, grants, logins, refreshes
from vestibule.storage.database import Database

TASKS = 20


async def _use_code(db: AsyncConnection, _: str) -> bool:
    return await codes.use_code(db, b"c" * 32, NOW) is not None


async def _use_refresh(db: AsyncConnection, who: str) -> bool:
    used = await refreshes.use_refresh(db, b"r" * 32, successor_sealed=who.encode(), replay_until=NOW + 30, now=NOW)
    return used is not None


async def _advance_login(db: AsyncConnection, _: str) -> bool:
    return await logins.advance_login(db, "login-1", "at_provider", "redeeming")


async def _lease(db: AsyncConnection, who: str) -> bool:
    return (
        await connections.lease_connection(db, "connection-1", version=1, owner=who, until=NOW + 30, now=NOW)
        is not None
    )


async def _end_connection(db: AsyncConnection, _: str) -> bool:
    return await connections.end_connection(db, "connection-1", "unused", NOW) is not None


async def _revoke_family(db: AsyncConnection, _: str) -> bool:
    return await grants.revoke_family(db, "family-1", "test", NOW) is not None


RACES: dict[str, Callable[[AsyncConnection, str], Awaitable[bool]]] = {
    "use_code": _use_code,
    "use_refresh": _use_refresh,
    "advance_login": _advance_login,
    "lease_connection": _lease,
    "end_connection": _end_connection,
    "revoke_family": _revoke_family,
}


async def race(database: Database, name: str, runner: str) -> list[str]:
    """Who won, of twenty tasks that start together."""

    async def attempt(who: str) -> str | None:
        async with database.write() as db:
            return who if await RACES[name](db, who) else None

    finished = await asyncio.gather(*(attempt(f"{runner}/{number}") for number in range(TASKS)))
    return [who for who in finished if who]


async def _answer(command: dict[str, str]) -> object:
    database = Database(command["url"])
    try:
        if command["do"] == "migrate":
            await database.migrate()
            return "migrated"
        return await race(database, command["do"], command["runner"])
    finally:
        await database.close()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(asyncio.run(_answer(json.loads(line)))), flush=True)  # noqa: T201
