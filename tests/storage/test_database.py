"""Transactions, constraints, and a schema that is what the code believes it to be."""

import asyncio
import contextlib

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from storage.records import ADA, CODE, FAMILY, KEY, NOW, REFRESH, add_code, add_family, add_key, undone
from vestibule.storage import codes, grants, keys, refreshes, users
from vestibule.storage.database import Database
from vestibule.storage.tables import clients, metadata, revocations
from vestibule.storage.tables import codes as codes_table
from vestibule.storage.tables import users as users_table


def _differences(connection):
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, metadata)


async def test_migrations_make_the_tables_of_the_code(database):
    """Operations, migrations: alembic finds nothing to add, to remove or to change."""
    async with database.read() as db:
        assert await db.run_sync(_differences) == []


async def test_migrations_make_the_indexes_of_the_code(database):
    """What alembic does not compare: the conditions of partial indexes, without which "live" would mean "ever"."""

    def indexes(connection):
        look = inspect(connection)
        return {(table, index["name"]) for table in look.get_table_names() for index in look.get_indexes(table)}

    async with database.read() as db:
        found = await db.run_sync(indexes)
    assert found >= {(table.name, index.name) for table in metadata.tables.values() for index in table.indexes}


async def test_migrating_again_changes_nothing(database):
    """Every start of the gateway migrates."""
    await add_family(database)
    await database.migrate()
    async with database.read() as db:
        assert await users.find_user(db, "user-1") is not None
        assert await db.run_sync(_differences) == []


async def test_migrating_by_two_connections_at_once(url):
    """Within one process: the second waits and finds it done."""
    databases = [Database(url), Database(url)]
    await asyncio.gather(*(database.migrate() for database in databases))
    for database in databases:
        async with database.read() as db:
            assert await db.run_sync(_differences) == []
        await database.close()


async def _connection_without_user(db):
    await grants.open_grant(db, "g", user_id="nobody", client_id="c", route="r", now=NOW)


async def _family_without_grant(db):
    await grants.add_family(db, FAMILY)


async def _key_without_family(db):
    await keys.add_key(db, KEY)


async def _code_without_family(db):
    await codes.add_code(db, CODE)


async def _refresh_without_family(db):
    await refreshes.add_refresh(db, REFRESH)


@pytest.mark.parametrize(
    "orphan",
    [
        _connection_without_user,
        _family_without_grant,
        _key_without_family,
        _code_without_family,
        _refresh_without_family,
    ],
)
async def test_foreign_keys_are_on(database, orphan):
    """The stack: SQLite ignores them unless it is told otherwise, on every connection."""
    for _ in range(3):
        with pytest.raises(IntegrityError):
            async with database.write() as db:
                await orphan(db)


async def test_a_referenced_row_cannot_be_deleted(database):
    """A cleanup in the wrong order fails instead of leaving keys without an owner."""
    await add_family(database)
    with pytest.raises(IntegrityError):
        async with database.write() as db:
            await db.execute(delete(users_table))


async def test_a_failed_transaction_leaves_nothing(database):
    """Design decision 2: one business step, one transaction."""
    async with undone(database) as db:
        await users.save_user(db, "user-1", ADA, NOW)
    async with database.read() as db:
        assert await users.find_user(db, "user-1") is None


async def test_no_update_is_lost(database):
    """The stack: without the lock from the start, two writers that read first lose each other's updates."""
    await add_family(database)

    async def count():
        async with database.write() as db:
            seen = await db.scalar(select(users_table.c.seen_at))
            await asyncio.sleep(0)
            await db.execute(update(users_table).values(seen_at=seen + 1))

    await asyncio.gather(*(count() for _ in range(40)))
    async with database.read() as db:
        assert await db.scalar(select(users_table.c.seen_at)) == NOW + 40


async def test_readers_do_not_wait_for_a_writer(database):
    """The gated path goes on while a token is issued, and sees what was committed before."""
    await add_family(database)
    async with database.write() as writing:
        await writing.execute(update(users_table).values(seen_at=1))
        async with asyncio.timeout(2), database.read() as db:
            assert await db.scalar(select(users_table.c.seen_at)) == NOW


async def test_a_cancelled_writer_leaves_nothing_behind(database):
    """A client may hang up at any moment: no half a transaction, no lock and no connection stays."""
    await add_family(database)

    async def write(number):
        async with database.write() as db:
            await db.execute(insert(clients).values(_client_row(f"a{number}")))
            await db.execute(insert(clients).values(_client_row(f"b{number}")))

    for number in range(60):
        task = asyncio.create_task(write(number))
        for _ in range(number // 2):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5):
        await write("last")
    async with database.read() as db:
        ids = set(await db.scalars(select(clients.c.id)))
    assert "alast" in ids
    assert {name[1:] for name in ids if name[0] == "a"} == {name[1:] for name in ids if name[0] == "b"}


def _client_row(client_id):
    return {
        "id": client_id,
        "source": "dcr",
        "name": "x",
        "redirect_uris": [],
        "auth_method": "none",
        "grant_types": [],
        "created_at": NOW,
    }


async def test_a_deleted_revocation_number_never_comes_back(database):
    """A watcher remembers the last number it has seen: were it given again, that revocation would be missed."""
    await add_family(database)
    numbers = []
    for name in ("key-1", "key-2", "key-3"):
        await add_key(database, id=name, digest=name.encode())
        async with database.write() as db:
            await keys.revoke_key(db, name, NOW)
            numbers.append(await db.scalar(select(func.max(revocations.c.seq))))
            await db.execute(delete(revocations))
    assert numbers == sorted(set(numbers))


async def test_bytes_and_json_come_back_as_they_were(database):
    """Digests are raw bytes, NUL included; lists keep their order, text its characters."""
    await add_family(database)
    digest = bytes(range(32))
    await add_code(database, digest=digest, redirect_uri="cursor://ü/ß?x=\u202e")
    async with database.read() as db:
        assert (await codes.find_code(db, digest)).redirect_uri == "cursor://ü/ß?x=\u202e"
        assert await db.scalar(select(codes_table.c.digest)) == digest
