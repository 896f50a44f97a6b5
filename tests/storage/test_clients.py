"""Registrations: idempotent, immutable, bounded."""

import asyncio
import contextlib

import pytest
from msgspec import structs

from storage.records import CLIENT, NOW
from vestibule.model import ClientSource
from vestibule.storage import clients

DAY = 86400
HASH = b"h" * 32


async def register(database, client_id="client-1", metadata_hash=HASH, *, room=1000, **change):
    """As the service does: what does not fit is rolled back."""
    client, stored = structs.replace(CLIENT, id=client_id, **change), None
    with contextlib.suppress(_Full):
        async with database.write() as db:
            stored = await clients.register_client(db, client, metadata_hash, room=room)
            _roll_back_if(stored is None)
    return stored


class _Full(Exception):
    pass


def _roll_back_if(full):
    if full:
        raise _Full


async def find(database, client_id, now=NOW):
    async with database.read() as db:
        return await clients.find_client(db, client_id, now)


async def confirm(database, client_id, now=NOW, expires_at=NOW + 180 * DAY):
    async with database.write() as db:
        await clients.confirm_client(db, client_id, now, expires_at)


async def test_registration_is_kept(database):
    """RFC 7591 §3.2.1: every field comes back."""
    assert await register(database) == CLIENT
    assert await find(database, "client-1") == CLIENT
    assert await find(database, "client-2") is None


async def test_the_same_metadata_is_the_same_client(database):
    """Protocol rule 4: idempotent and immutable; only the clock moves, and only forward."""
    await register(database)
    again = await register(
        database, "client-2", name="Other", redirect_uris=("https://evil.example/cb",), expires_at=NOW + 9 * DAY
    )
    assert again == structs.replace(CLIENT, expires_at=NOW + 9 * DAY)
    assert (await register(database, "client-3", expires_at=NOW + DAY)).expires_at == NOW + 9 * DAY
    assert await find(database, "client-2") is None


async def test_twenty_registrations_at_once_are_one_client(database):
    """Every installation of a client registers at its start, and Claude.ai does so often."""
    stored = await asyncio.gather(*(register(database, f"client-{n}") for n in range(20)))
    assert len({client.id for client in stored}) == 1


async def test_confidential_registrations_are_never_shared(database):
    """A secret belongs to one installation: without a hash, equal metadata are different clients."""
    first = await register(database, "client-1", None, auth_method="client_secret_post", secret_digest=b"1" * 32)
    second = await register(database, "client-2", None, auth_method="client_secret_post", secret_digest=b"2" * 32)
    assert (first.id, second.id) == ("client-1", "client-2")
    assert (await find(database, "client-1")).secret_digest == b"1" * 32


async def test_flood_is_capped(database):
    """Protocol rule 4: unconfirmed registrations are bounded, and a refused one leaves no row."""
    for number in range(5):
        assert await register(database, f"client-{number}", bytes([number]), room=5)
    assert await register(database, "client-5", b"5", room=5) is None
    assert await find(database, "client-5") is None


async def test_attack_flood_locks_nobody_out(database):
    """Protocol rule 4: at the cap, known clients register again and confirmed ones take no room."""
    await register(database, "good", b"good", room=5)
    await confirm(database, "good")
    for number in range(5):
        assert await register(database, f"client-{number}", bytes([number]), room=5)
    assert await register(database, "more", b"more", room=5) is None
    assert (await register(database, "more", b"good", room=5)).id == "good"
    assert (await register(database, "more", bytes([3]), room=5)).id == "client-3"
    assert await find(database, "good", NOW + 100 * DAY)


async def test_expired_registrations_take_no_room(database):
    """A flood is over when its registrations have expired, whether or not they were deleted yet."""
    for number in range(5):
        await register(database, f"client-{number}", bytes([number]), room=5)
    later = NOW + 3 * DAY
    assert await register(database, "late", b"late", room=5, created_at=later, expires_at=later + DAY)


@pytest.mark.parametrize(("after", "found"), [(0, True), (3 * DAY - 1, True), (3 * DAY, False)])
async def test_unconfirmed_clients_expire(database, after, found):
    """Protocol rule 4; the interval excludes its end."""
    await register(database)
    assert (await find(database, "client-1", NOW + after) is not None) is found


async def test_confirmed_clients_renew_on_use(database):
    """Protocol rule 4: `confirmed_at` is the first time, the end only ever moves forward."""
    await register(database)
    await confirm(database, "client-1", NOW + 10, NOW + 180 * DAY)
    await confirm(database, "client-1", NOW + 20, NOW + 200 * DAY)
    await confirm(database, "client-1", NOW + 30, NOW + 100 * DAY)
    client = await find(database, "client-1")
    assert (client.confirmed_at, client.expires_at) == (NOW + 10, NOW + 200 * DAY)
    async with database.read() as db:
        assert await clients.list_clients(db) == [(client, NOW + 30)]


async def test_confirming_a_client_of_the_config_is_fine(database):
    """Pre-registered clients have no row."""
    await confirm(database, "portal")
    assert await find(database, "portal") is None


async def test_a_fetched_document_replaces_the_client_and_keeps_its_standing(database):
    """CIMD: what changed at the client's site changes here; that a user approved it stays true."""
    cimd = structs.replace(CLIENT, id="https://app.example/client", source=ClientSource.CIMD)
    async with database.write() as db:
        await clients.save_cimd_client(db, cimd)
    await confirm(database, cimd.id, NOW + 10)
    changed = structs.replace(cimd, name="New name", redirect_uris=("https://app.example/cb",), created_at=NOW + 99)
    async with database.write() as db:
        await clients.save_cimd_client(db, changed)
    assert await find(database, cimd.id) == structs.replace(
        changed, created_at=NOW, confirmed_at=NOW + 10, expires_at=NOW + 180 * DAY
    )


async def test_listing_is_newest_first_and_bounded(database):
    """For `vestibule clients list`."""
    for number in range(3):
        await register(database, f"client-{number}", bytes([number]), created_at=NOW + number)
    async with database.read() as db:
        assert [client.id for client, _ in await clients.list_clients(db)] == ["client-2", "client-1", "client-0"]
        assert len(await clients.list_clients(db, limit=2)) == 2
