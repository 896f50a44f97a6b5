"""Housekeeping: what is deleted, what is ended, and what stays."""

import pytest
from sqlalchemy import select

from storage.records import CLIENT, NOW, add_code, add_family, add_key, add_login, add_refresh
from vestibule.storage import clients, connections, grants, revocations, sweep, tables

DAY = 86400
DEAD = {"expires_at": NOW}


async def end_idle(database, now=NOW):
    async with database.write() as db:
        return await sweep.end_idle_families(db, now)


async def delete(database, now):
    async with database.write() as db:
        return await sweep.delete_expired(db, now)


@pytest.mark.parametrize(
    ("rows", "idle"),
    [
        ([], True),
        ([(add_key, {})], False),
        ([(add_refresh, {})], False),
        ([(add_code, {})], False),
        ([(add_key, DEAD), (add_refresh, DEAD), (add_code, DEAD)], True),
        ([(add_key, {"revoked_at": NOW}), (add_refresh, {"used_at": NOW}), (add_code, {"used_at": NOW})], True),
        ([(add_key, DEAD), (add_refresh, {})], False),
        ([(add_key, {}), (add_refresh, DEAD)], False),
    ],
    ids=lambda value: "+".join(add.__name__ for add, _ in value) or "nothing" if isinstance(value, list) else "",
)
async def test_a_family_without_anything_alive_is_ended(database, rows, idle):
    """Design decision 12: its provider tokens can be revoked then; an idle session does not keep them for ever."""
    await add_family(database, connection=True)
    for add, change in rows:
        await add(database, **change)
    assert await end_idle(database) == (["connection-1"] if idle else [])
    async with database.read() as db:
        assert (await grants.find_family(db, "family-1")).revoked_reason == ("idle" if idle else None)
    assert await end_idle(database) == []


async def test_nothing_that_lives_is_deleted(database):
    """A round right after everything was made."""
    await add_family(database, connection=True)
    for add in (add_key, add_refresh, add_code, add_login):
        await add(database)
    async with database.write() as db:
        await clients.register_client(db, CLIENT, b"h", room=9)
        await revocations.announce(db, revocations.KEY, "x", NOW)
    assert await delete(database, NOW) == 0


async def test_what_is_over_goes_children_first(database):
    """One round empties everything that ended long ago, without breaking a foreign key."""
    await add_family(database, connection=True, revoked_at=NOW)
    for add in (add_key, add_refresh, add_code, add_login):
        await add(database)
    async with database.write() as db:
        await connections.end_connection(db, "connection-1", "unused", NOW)
        await clients.register_client(db, CLIENT, b"h", room=9)
        await revocations.announce(db, revocations.KEY, "x", NOW)
    assert await delete(database, NOW + 30 * DAY) == 8
    async with database.read() as db:
        for table in (tables.logins, tables.codes, tables.refreshes, tables.keys, tables.families, tables.connections):
            assert (await db.execute(select(table))).all() == []


async def test_confirmed_and_configured_clients_stay(database):
    """Protocol rule 4: only what expired is forgotten."""
    async with database.write() as db:
        await clients.register_client(db, CLIENT, b"h", room=9)
        await clients.confirm_client(db, CLIENT.id, NOW, NOW + 180 * DAY)
    assert await delete(database, NOW + 100 * DAY) == 0
    assert await delete(database, NOW + 181 * DAY) == 1


async def test_one_round_is_bounded(database, monkeypatch):
    """Requests come between the batches."""
    monkeypatch.setattr(sweep, "BATCH", 3)
    for number in range(7):
        await add_login(database, id=f"login-{number}")
    assert [await delete(database, NOW + 30 * DAY) for _ in range(4)] == [3, 3, 1, 0]
