"""Keys: one read for all that admission needs."""

import pytest
from msgspec import structs
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from storage.records import ADA, CONNECTION, FAMILY, KEY, NOW, add_family, add_key
from vestibule.model import KeyKind
from vestibule.storage import grants, keys, revocations
from vestibule.storage.tables import families


async def facts_of(database, digest=KEY.digest):
    async with database.read() as db:
        return await keys.find_key_facts(db, digest)


@pytest.mark.parametrize("connection", [True, False])
async def test_facts_of_a_persons_key(database, connection):
    """Key, family, grant, user and connection, each complete, although four of them have an `id`."""
    await add_family(database, connection=connection)
    await add_key(database)
    facts = await facts_of(database)
    assert facts.key == KEY
    assert facts.family == structs.replace(FAMILY, connection_id="connection-1" if connection else None)
    assert (facts.grant.id, facts.grant.user_id, facts.grant.route) == ("grant-1", "user-1", "issues")
    assert facts.user.id == "user-1"
    assert facts.user.identity() == ADA
    assert facts.connection == (CONNECTION if connection else None)


async def test_facts_of_a_services_key(database):
    """Design decision 13: no person, no family."""
    key = await add_key(database, kind=KeyKind.API_KEY, family_id=None, service="ci", name="nightly")
    facts = await facts_of(database)
    assert facts.key == key
    assert (facts.family, facts.grant, facts.user, facts.connection) == (None, None, None, None)


@pytest.mark.parametrize("digest", [b"", KEY.digest[:-1], KEY.digest + b"d", b"x" * 32], ids=len)
async def test_attack_part_of_a_digest(database, digest):
    """CVE-2026-27840: the whole digest or nothing."""
    await add_family(database)
    await add_key(database)
    assert await facts_of(database, digest) is None


async def test_dead_keys_are_found_too(database):
    """The caller judges, so that the log can say why."""
    await add_family(database, revoked_at=NOW)
    await add_key(database, revoked_at=NOW, expires_at=1)
    facts = await facts_of(database)
    assert facts.key.revoked_at == NOW
    assert facts.family.revoked_at == NOW


async def test_a_digest_exists_once(database):
    """Two keys with one digest would be two owners of one secret."""
    await add_family(database)
    await add_key(database)
    with pytest.raises(IntegrityError):
        await add_key(database, id="key-2")


async def test_a_key_is_revoked_once_and_announced(database):
    """RFC 7009 §2: revoked in the transaction that tells the other processes."""
    await add_family(database)
    await add_key(database)
    async with database.write() as db:
        assert (await keys.revoke_key(db, "key-1", NOW + 5)).revoked_at == NOW + 5
        assert await keys.revoke_key(db, "key-1", NOW + 6) is None
        assert await keys.revoke_key(db, "unknown", NOW) is None
    async with database.read() as db:
        assert [row[1:] for row in await revocations.since(db, 0)] == [("key", "key-1")]


async def test_last_use_is_written_in_one_batch(database):
    """Off the request path; keys that are gone meanwhile are no error, and no use is no statement."""
    await add_family(database)
    await add_key(database)
    await add_key(database, id="key-2", digest=b"2" * 32)
    async with database.write() as db:
        await keys.touch_keys(db, {"key-1": NOW + 1, "key-2": NOW + 2, "gone": NOW}.items())
        await keys.touch_keys(db, [])
    assert (await facts_of(database)).key.last_used_at == NOW + 1
    assert (await facts_of(database, b"2" * 32)).key.last_used_at == NOW + 2


async def test_listing_shows_live_keys_unless_everything_is_asked_for(database):
    """For `vestibule keys list`: newest first, each with its owner."""
    await add_family(database)
    await add_family(database, id="revoked", revoked_at=NOW)
    rows = {
        "old": {},
        "new": {"created_at": NOW + 5},
        "service": {"created_at": NOW + 9, "family_id": None, "service": "ci"},
        "revoked": {"revoked_at": NOW},
        "expired": {"expires_at": NOW},
        "family revoked": {"family_id": "revoked"},
    }
    for name, change in rows.items():
        await add_key(database, id=name, digest=name.encode(), **change)
    async with database.read() as db:
        live = await keys.list_keys(db, NOW)
        everything = await keys.list_keys(db, NOW, everything=True)
        assert len(await keys.list_keys(db, NOW, limit=2)) == 2
    assert [facts.key.id for facts in live] == ["service", "new", "old"]
    assert [facts.user and facts.user.id for facts in live] == [None, "user-1", "user-1"]
    assert {facts.key.id for facts in everything} == rows.keys()


async def test_a_family_that_moved_takes_its_keys_along(database):
    """The joins follow the rows as they are now: nothing about a person is copied into the key."""
    await add_family(database)
    await add_key(database)
    async with database.write() as db:
        await db.execute(update(families).values(permissions=["read"]))
    assert (await facts_of(database)).family.permissions == ("read",)
    async with database.write() as db:
        await grants.revoke_family(db, "family-1", "test", NOW)
    assert (await facts_of(database)).family.revoked_reason == "test"
