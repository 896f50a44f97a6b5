"""Grants and families: what is shared, and what ends with what."""

import asyncio

import pytest
from msgspec import structs
from sqlalchemy import update

from storage.records import ADA, NOW, add_family
from vestibule.storage import grants, revocations, users
from vestibule.storage.tables import grants as table


async def open_grant(database, new_id, **change):
    values = {"user_id": "user-1", "client_id": "client-1", "route": "issues", "now": NOW} | change
    async with database.write() as db:
        await users.save_user(db, "user-1", ADA, NOW)
        await users.save_user(db, "user-2", structs.replace(ADA, subject="2"), NOW)
        return await grants.open_grant(db, new_id, **values)


async def test_one_live_grant_for_user_client_and_route(database):
    """Design decision 11: the second authorization joins the grant of the first."""
    first = await open_grant(database, "grant-1")
    assert await open_grant(database, "grant-2", now=NOW + 5) == first
    async with database.read() as db:
        assert await grants.find_grant(db, "grant-1") == first
        assert await grants.find_grant(db, "grant-2") is None


@pytest.mark.parametrize("change", [{"user_id": "user-2"}, {"client_id": "client-2"}, {"route": "other"}], ids=str)
async def test_other_user_client_or_route_is_another_grant(database, change):
    """Design decision 11."""
    await open_grant(database, "grant-1")
    assert (await open_grant(database, "grant-2", **change)).id == "grant-2"


async def test_a_revoked_grant_is_not_joined(database):
    """Unique while live: who authorizes again after a revocation begins anew."""
    await open_grant(database, "grant-1")
    async with database.write() as db:
        await db.execute(update(table).values(revoked_at=NOW))
    assert (await open_grant(database, "grant-2")).id == "grant-2"
    assert (await open_grant(database, "grant-3")).id == "grant-2"


async def test_twenty_authorizations_at_once_share_one_grant(database):
    """A client that signs in from twenty windows."""
    opened = await asyncio.gather(*(open_grant(database, f"grant-{n}") for n in range(20)))
    assert len({grant.id for grant in opened}) == 1


async def test_a_family_comes_back_as_it_was(database):
    """Permissions keep their order: the answer's `scope` is built from them."""
    family = await add_family(database, connection=True, permissions=("write", "read"))
    async with database.read() as db:
        assert await grants.find_family(db, "family-1") == family
        assert await grants.find_family(db, "family-2") is None


async def test_the_grant_of_a_family(database):
    """Ownership of a refresh token: found whether the family lives or not."""
    await add_family(database, revoked_at=NOW)
    async with database.read() as db:
        assert (await grants.find_grant_of_family(db, "family-1")).client_id == "client-1"
        assert await grants.find_grant_of_family(db, "family-2") is None


async def revoke(database, family_id, reason="test", now=NOW + 7):
    async with database.write() as db:
        return await grants.revoke_family(db, family_id, reason, now)


async def test_a_family_is_revoked_alone_and_once(database):
    """Design decision 11: no cascade; the log names it once, however often it is revoked."""
    await add_family(database)
    await add_family(database, id="family-2")
    revoked = await revoke(database, "family-1", "refresh_token_reused")
    assert (revoked.revoked_at, revoked.revoked_reason) == (NOW + 7, "refresh_token_reused")
    assert await revoke(database, "family-1", "again") is None
    assert await revoke(database, "unknown") is None
    async with database.read() as db:
        assert await grants.find_family(db, "family-1") == revoked
        assert (await grants.find_family(db, "family-2")).revoked_at is None
        assert [row[1:] for row in await revocations.since(db, 0)] == [("family", "family-1")]


async def test_all_families_of_a_connection_end_together(database):
    """Design decision 17: a refusal of the provider ends the connection and what hangs on it, and nothing else."""
    await add_family(database, connection=True)
    await add_family(database, id="family-2", connection_id="connection-1")
    await add_family(database, id="family-3", connection_id="connection-1")
    await add_family(database, id="family-4")
    await revoke(database, "family-3", "earlier", NOW)
    async with database.write() as db:
        ended = await grants.revoke_families_of_connection(db, "connection-1", "refused", NOW + 9)
        assert await grants.revoke_families_of_connection(db, "connection-1", "refused", NOW + 9) == []
    assert sorted(ended) == ["family-1", "family-2"]
    async with database.read() as db:
        assert (await grants.find_family(db, "family-2")).revoked_reason == "refused"
        assert (await grants.find_family(db, "family-3")).revoked_reason == "earlier"
        assert (await grants.find_family(db, "family-4")).revoked_at is None
        assert {row[2] for row in await revocations.since(db, 0)} == {"family-1", "family-2", "family-3"}


@pytest.mark.parametrize(
    ("families", "used"),
    [
        ([], False),
        ([{}], True),
        ([{"revoked_at": NOW}], False),
        ([{"expires_at": NOW}], False),
        ([{"expires_at": NOW + 1}], True),
        ([{"revoked_at": NOW}, {}], True),
        ([{"connection_id": None}], False),
    ],
    ids=str,
)
async def test_connection_in_use(database, families, used):
    """Design decision 12: provider tokens are revoked with the last family that lives."""
    await add_family(database, connection=True, id="other", revoked_at=NOW)
    for number, change in enumerate(families):
        await add_family(database, id=f"family-{number}", **{"connection_id": "connection-1"} | change)
    async with database.read() as db:
        assert await grants.connection_in_use(db, "connection-1", NOW) is used
