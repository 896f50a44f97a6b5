"""The provider's tokens: one live connection for user and scope set, versions, and the lease."""

import pytest
from msgspec import structs
from sqlalchemy.exc import IntegrityError

from storage.records import ADA, CONNECTION, NOW, SCOPES_HASH
from vestibule.storage import connections, users

NEW = {"access_sealed": b"access 2", "refresh_sealed": b"refresh 2", "kept_sealed": None, "expires_at": NOW + 7200}


@pytest.fixture
async def saved(database):
    async with database.write() as db:
        await users.save_user(db, "user-1", ADA, NOW)
        return await connections.save_connection(db, CONNECTION, SCOPES_HASH, NOW)


async def call(database, intent, *args, **kwargs):
    async with database.write() as db:
        return await intent(db, *args, **kwargs)


async def lease(database, owner="a", *, version=1, now=NOW):
    return await call(
        database, connections.lease_connection, "connection-1", version=version, owner=owner, until=now + 30, now=now
    )


async def test_a_new_connection(database, saved):
    """Found by its id, and by user and scope set."""
    assert saved == CONNECTION
    async with database.read() as db:
        assert await connections.find_connection(db, "connection-1") == CONNECTION
        assert await connections.find_live_connection(db, "user-1", SCOPES_HASH) == CONNECTION
        assert await connections.find_live_connection(db, "user-2", SCOPES_HASH) is None
        assert await connections.find_live_connection(db, "user-1", b"other") is None


async def test_a_new_sign_in_replaces_the_tokens(database, saved):
    """A refresh that runs meanwhile loses: the version moves and its lease is gone."""
    await lease(database)
    again = await call(database, connections.save_connection, structs.replace(CONNECTION, **NEW), SCOPES_HASH, NOW + 10)
    assert again == structs.replace(CONNECTION, **NEW, refreshed_at=NOW + 10, version=2)


async def test_a_sign_in_without_refresh_token_keeps_the_old_one(database, saved):
    """Some providers give one at the first consent only."""
    change = NEW | {"refresh_sealed": None}
    again = await call(database, connections.save_connection, structs.replace(CONNECTION, **change), SCOPES_HASH, NOW)
    assert again.refresh_sealed == b"refresh"
    assert again.access_sealed == b"access 2"


async def test_one_live_connection_for_user_and_scope_set(database, saved):
    """Design decision 12; an ended one makes room."""
    second = structs.replace(CONNECTION, id="connection-2")
    with pytest.raises(IntegrityError):
        await call(database, connections.save_connection, second, SCOPES_HASH, NOW)
    await call(database, connections.end_connection, "connection-1", "unused", NOW)
    assert (await call(database, connections.save_connection, second, SCOPES_HASH, NOW)).id == "connection-2"


async def test_the_lease_has_one_owner(database, saved):
    """Design decision 17: nobody else refreshes while it runs, and it names its end."""
    leased = await lease(database, "a")
    assert leased == structs.replace(CONNECTION, lease_owner="a", lease_until=NOW + 30)
    assert await lease(database, "b") is None
    assert await lease(database, "a", now=NOW + 29) is None


@pytest.mark.parametrize(("after", "taken"), [(29, False), (30, True), (31, True)])
async def test_an_expired_lease_is_taken_over(database, saved, after, taken):
    """A crashed owner blocks others no longer than its lease."""
    await lease(database, "a")
    assert (await lease(database, "b", now=NOW + after) is not None) is taken


async def test_only_the_owner_releases_a_lease(database, saved):
    """Who was overtaken must not free the lease of who came after."""
    await lease(database, "a")
    await call(database, connections.release_lease, "connection-1", "b")
    assert await lease(database, "c") is None
    await call(database, connections.release_lease, "connection-1", "a")
    assert await lease(database, "c") is not None


@pytest.mark.parametrize("version", [0, 2])
async def test_no_lease_on_another_version(database, saved, version):
    """Who saw an older version finds it refreshed already."""
    assert await lease(database, version=version) is None


async def test_refreshed_tokens_are_stored_once(database, saved):
    """The version is the guard; the lease ends with it."""
    await lease(database)
    stored = await call(database, connections.store_refreshed, "connection-1", version=1, now=NOW + 10, **NEW)
    assert stored == structs.replace(CONNECTION, **NEW, refreshed_at=NOW + 10, version=2)
    late = NEW | {"expires_at": 1}
    assert await call(database, connections.store_refreshed, "connection-1", version=1, now=NOW, **late) is None
    assert (await call(database, connections.find_connection, "connection-1")).expires_at == NOW + 7200


async def test_a_refusal_ends_the_version_it_was_about(database, saved):
    """What a sign-in brought meanwhile is not what the provider refused."""
    await call(database, connections.save_connection, structs.replace(CONNECTION, **NEW), SCOPES_HASH, NOW + 1)
    assert await call(database, connections.end_connection, "connection-1", "refused", NOW + 2, version=1) is None
    assert await call(database, connections.end_connection, "connection-1", "refused", NOW + 2, version=2)


@pytest.mark.parametrize(("old", "kept"), [(b"refresh", b"new"), (b"another", b"refresh")])
async def test_a_refresh_token_is_replaced_where_the_old_one_stands(database, saved, old, kept):
    """A rotation that lost against a sign-in without refresh token still holds the only one that works."""
    await call(database, connections.replace_refresh, "connection-1", old=old, new=b"new")
    assert (await call(database, connections.find_connection, "connection-1")).refresh_sealed == kept


async def test_a_connection_ends_once_and_stays_ended(database, saved):
    """No lease, no tokens and no second end afterwards; it is not found as the live one."""
    ended = await call(database, connections.end_connection, "connection-1", "refused", NOW + 5)
    assert (ended.ended_at, ended.ended_reason) == (NOW + 5, "refused")
    assert await call(database, connections.end_connection, "connection-1", "again", NOW + 6) is None
    assert await lease(database) is None
    assert await call(database, connections.store_refreshed, "connection-1", version=1, now=NOW, **NEW) is None
    async with database.read() as db:
        assert await connections.find_live_connection(db, "user-1", SCOPES_HASH) is None
        assert await connections.find_connection(db, "connection-1") == ended
