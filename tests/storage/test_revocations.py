"""The log of revocations: numbers grow, and a reader gets each once."""

from sqlalchemy import delete

from storage.records import NOW, undone
from vestibule.storage import revocations
from vestibule.storage.tables import revocations as table


async def announce(database, *subjects):
    async with database.write() as db:
        for subject in subjects:
            await revocations.announce(db, revocations.FAMILY, subject, NOW)


async def test_a_reader_gets_what_came_after(database):
    """Oldest first, from the number that it remembers; 0 is the beginning."""
    async with database.read() as db:
        assert await revocations.latest(db) == 0
        assert await revocations.since(db, 0) == []
    await announce(database, "a", "b")
    async with database.read() as db:
        seen = await revocations.latest(db)
        assert [row[2] for row in await revocations.since(db, 0)] == ["a", "b"]
        assert await revocations.since(db, seen) == []
    await announce(database, "c", "a")
    async with database.read() as db:
        rows = await revocations.since(db, seen)
    assert [row[1:] for row in rows] == [("family", "c"), ("family", "a")]
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})


async def test_an_undone_revocation_is_not_announced(database):
    """`announce` is part of the transaction that revokes, so the two cannot part."""
    async with undone(database) as db:
        await revocations.announce(db, revocations.KEY, "a", NOW)
    async with database.read() as db:
        assert await revocations.latest(db) == 0


async def test_cleaning_up_does_not_turn_the_numbers_back(database):
    """A reader that remembers 2 must see what comes after the log was emptied."""
    await announce(database, "a", "b")
    async with database.write() as db:
        seen = await revocations.latest(db)
        await db.execute(delete(table))
    await announce(database, "c")
    async with database.read() as db:
        assert [row[2] for row in await revocations.since(db, seen)] == ["c"]
