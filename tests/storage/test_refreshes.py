"""Refresh tokens: one use a generation."""

import pytest
from msgspec import structs
from sqlalchemy.exc import IntegrityError

from storage.records import NOW, REFRESH, add_family, add_refresh
from vestibule.storage import refreshes


async def use(database, digest=REFRESH.digest, now=NOW + 5):
    async with database.write() as db:
        return await refreshes.use_refresh(db, digest, successor_sealed=b"sealed", replay_until=now + 30, now=now)


async def test_a_refresh_token_is_used_once(database):
    """RFC 9700 §4.14.2: who uses it first leaves the answer, and nobody overwrites it."""
    await add_family(database)
    await add_refresh(database)
    used = structs.replace(REFRESH, used_at=NOW + 5, successor_sealed=b"sealed", replay_until=NOW + 35)
    assert await use(database) == used
    assert await use(database, now=NOW + 9) is None
    assert await use(database, b"unknown") is None
    async with database.read() as db:
        assert await refreshes.find_refresh(db, REFRESH.digest) == used
        assert await refreshes.find_refresh(db, b"unknown") is None


async def test_a_generation_exists_once(database):
    """UQ(family, generation): two successors of one token cannot both be stored."""
    await add_family(database)
    await add_family(database, id="family-2")
    await add_refresh(database)
    await add_refresh(database, digest=b"2" * 32, family_id="family-2")
    with pytest.raises(IntegrityError):
        await add_refresh(database, digest=b"3" * 32)


@pytest.mark.parametrize(
    ("others", "used"),
    [
        ([], False),
        ([{"generation": 1}], False),
        ([{"generation": 1, "used_at": NOW}], True),
        ([{"generation": 1}, {"generation": 2, "used_at": NOW}], False),
        ([{"generation": 1, "used_at": NOW, "family_id": "family-2"}], False),
    ],
    ids=str,
)
async def test_successor_used(database, others, used):
    """Design decision 17: an answer is repeated only until its refresh token was used, in this family."""
    await add_family(database)
    await add_family(database, id="family-2")
    first = await add_refresh(database, used_at=NOW)
    for number, change in enumerate(others):
        await add_refresh(database, digest=bytes([number]), **change)
    async with database.read() as db:
        assert await refreshes.successor_used(db, first) is used
