"""The provider's tokens: one refresh however many ask, and who keeps or loses what when something goes wrong."""

import asyncio
from pathlib import Path

import httpx
import pytest
from msgspec import structs
from sqlalchemy import select, update

from service.world import NOW
from vestibule import catalog
from vestibule.crypto.sealing import SealBroken, Sealer
from vestibule.errors import KeyInvalid
from vestibule.model import Secret, Tokens
from vestibule.provider.flow import ProviderFailed
from vestibule.service import connections as module
from vestibule.service.connections import Ended, Refresher, Unreachable, access_token
from vestibule.storage import connections as store
from vestibule.storage.tables import connections as table
from vestibule.tools.invention import invented_provider

EARLY = 3480
"""Seconds after which the token of an hour is to be refreshed."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Those who wait for a lease look again at once."""
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.01)


async def sign_in(world, *, permissions=("read",), client="portal"):
    return await world.sign_in(route="tokens", permissions=permissions, client=client)


async def refresh(world, keys, refresher=None):
    """What a request does when it finds the token due."""
    return await (refresher or Refresher()).refresh(world.gateway, await world.connection(keys.access))


def token(world, connection):
    return access_token(world.gateway, connection).reveal()


async def alive(world, *signed_in):
    return [(await world.family(keys.family)).revoked_at is None for keys in signed_in]


@pytest.mark.parametrize(
    ("life", "after", "is_due"),
    [(3600, 3479, False), (3600, 3480, True), (121, 0, False), (121, 1, True), (60, 29, False), (60, 30, True)],
)
async def test_when_a_token_is_due(world, life, after, is_due):
    """Two minutes before its end; one that lives no longer than that, at half of its life and not on every request."""
    connection = await world.connection((await sign_in(world)).access)
    lived = structs.replace(connection, refreshed_at=NOW, expires_at=NOW + life)
    assert module.due(world.gateway, lived, NOW + after) is is_due
    assert not module.due(world.gateway, structs.replace(lived, refresh_sealed=None), NOW + life - 1)
    assert not module.due(world.gateway, structs.replace(lived, expires_at=None), NOW + 10 * life)


# --- sharing (design decision 12) -------------------------------------------------------------------------------------


async def test_one_connection_for_user_and_scope_set(world):
    """Families that chose the same scopes share it, whatever the client; others never do: read carries no write."""
    first, second = await sign_in(world), await sign_in(world, client="other")
    other = await sign_in(world, permissions=("read", "write"))
    shared = await world.connection(first.access)
    assert (await world.connection(second.access)).id == shared.id
    assert (await world.connection(other.access)).id != shared.id
    assert shared.scopes == ("repo:read",)
    assert token(world, shared) == "access-2"  # the latest sign-in's


async def test_connections_of_two_people_are_two(world):
    """The same scopes and another subject."""
    ada = await sign_in(world)
    world.network.person = world.network.person | {"id": "2"}
    assert (await world.connection((await sign_in(world)).access)).id != (await world.connection(ada.access)).id


async def test_a_sign_in_without_refresh_token_keeps_the_old_one(world):
    """Some providers give one at the first consent only."""
    await sign_in(world)
    world.network.gives_refresh_token = False
    keys = await sign_in(world)
    assert token(world, await refresh(world, keys)) == "access-3"
    assert world.network.asked("/refresh")[0]["refresh_token"] == "refresh-1"


# --- at rest ----------------------------------------------------------------------------------------------------------


async def test_tokens_are_sealed_at_rest(world, tmp_path):
    """Decision 20: neither the database file nor its log holds a provider's token."""
    await sign_in(world)
    for file in tmp_path.glob("vestibule.db*"):
        assert b"access-1" not in file.read_bytes()
        assert b"refresh-1" not in file.read_bytes()


@pytest.mark.parametrize("column", ["access_sealed", "refresh_sealed"])
async def test_attack_swapped_sealed_rows(world, column):
    """Gateway attack list: who can write to the database and moves another's token to their row has nothing."""
    victim = await sign_in(world)
    world.network.person = world.network.person | {"id": "2"}
    thief = await sign_in(world)
    stolen, row = await world.connection(victim.access), await world.connection(thief.access)
    async with world.gateway.database.write() as db:
        await db.execute(update(table).where(table.c.id == row.id).values({column: getattr(stolen, column)}))
    world.clock.advance(EARLY)
    with pytest.raises(KeyInvalid):
        await world.admit(thief.access, "tokens")
    assert world.network.asked("/refresh") == []


async def test_attack_swapped_columns_of_one_row(world):
    """A refresh token presented as an access token would be sent to the backend."""
    connection = await world.connection((await sign_in(world)).access)
    with pytest.raises(SealBroken):
        access_token(world.gateway, structs.replace(connection, access_sealed=connection.refresh_sealed))


async def test_sealing_keys_rotate(world):
    """Decision 20: old rows open with the list's later keys; the next refresh seals with the first one."""
    keys = await sign_in(world)
    old, new = Secret("aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3aB4c"), Secret("n" * 43)
    during = world.as_another_process(sealer=Sealer([new, old]))
    await during.admit(keys.access, "tokens")
    assert isinstance(await refresh(during, keys), module.ConnectionRecord)
    await world.as_another_process(sealer=Sealer([new])).admit(keys.access, "tokens")
    with pytest.raises(KeyInvalid):
        await world.as_another_process(sealer=Sealer([old])).admit(keys.access, "tokens")


# --- one refresh ------------------------------------------------------------------------------------------------------


async def test_fifty_requests_make_one_provider_call(world):
    """Design decision 17, single flight: two clients of one user share the connection, and its refresh."""
    first, second = await sign_in(world), await sign_in(world, client="other")
    world.clock.advance(EARLY)
    world.network.open.clear()
    waiting = [asyncio.create_task(world.admit(keys.access, "tokens")) for keys in (first, second) * 25]
    await asyncio.sleep(0.05)
    world.network.open.set()
    admitted = await asyncio.gather(*waiting)
    assert {entry.provider_token.reveal() for entry in admitted} == {"access-3"}
    assert len(world.network.asked("/refresh")) == 1


async def test_two_processes_make_one_provider_call(world):
    """The lease: the second one waits and finds the first one's tokens."""
    keys, other = await sign_in(world), world.as_another_process()
    world.network.open.clear()
    waiting = [asyncio.create_task(refresh(place, keys)) for place in (world, other)]
    await asyncio.sleep(0.1)
    world.network.open.set()
    found = await asyncio.gather(*waiting)
    assert [token(world, connection) for connection in found] == ["access-2", "access-2"]
    assert len(world.network.asked("/refresh")) == 1


async def test_a_client_that_hangs_up_stops_no_rotation(world):
    """Half-way through, the provider has spent the old refresh token already."""
    keys, refresher = await sign_in(world), Refresher()
    world.network.open.clear()
    waiting = asyncio.create_task(refresh(world, keys, refresher))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.network.open.set()
    await asyncio.sleep(0.05)
    assert token(world, await world.connection(keys.access)) == "access-2"


async def test_who_saw_an_older_version_gets_the_newer_one(world):
    """No provider call for what was done already."""
    keys = await sign_in(world)
    seen = await world.connection(keys.access)
    await refresh(world, keys)
    found = await Refresher().refresh(world.gateway, seen)
    assert (found.version, token(world, found)) == (2, "access-2")
    assert len(world.network.asked("/refresh")) == 1


async def test_rotation_stores_the_new_refresh_token(world):
    """RFC 6749 §6: the next refresh uses it."""
    keys = await sign_in(world)
    for number in (2, 3):
        assert token(world, await refresh(world, keys)) == f"access-{number}"
    assert [form["refresh_token"] for form in world.network.asked("/refresh")] == ["refresh-1", "refresh-2"]


async def test_a_provider_that_does_not_rotate_keeps_its_refresh_token(world):
    """RFC 6749 §6: a reply without one means that the old one stays."""
    world.network.rotates = False
    keys = await sign_in(world)
    for _ in range(2):
        await refresh(world, keys)
    assert [form["refresh_token"] for form in world.network.asked("/refresh")] == ["refresh-1", "refresh-1"]


@pytest.mark.parametrize("settings", [{"revoke: {url": "refresh: {rotate: replace}\nrevoke: {url"}])
async def test_a_provider_that_always_replaces_may_give_none(world):
    """`rotate: replace`: the old one is spent, so it is not kept and not tried; the access token lives to its end."""
    world.network.rotates = False
    keys = await sign_in(world)
    assert (await refresh(world, keys)).refresh_sealed is None
    world.clock.advance(3599)
    assert (await world.admit(keys.access, "tokens")).provider_token.reveal() == "access-2"
    assert len(world.network.asked("/refresh")) == 1


# --- trouble ----------------------------------------------------------------------------------------------------------

PASSING = {
    "500": lambda: httpx.Response(500),
    "503": lambda: httpx.Response(503),
    "429": lambda: httpx.Response(429, headers={"retry-after": "5"}),
    "timeout": lambda: httpx.ReadTimeout("slow"),
    "connection refused": lambda: httpx.ConnectError("refused"),
    "broken off": lambda: httpx.RemoteProtocolError("broken"),
    "captive portal": lambda: httpx.Response(200, html="<h1>Please sign in</h1>"),
    "no token": lambda: httpx.Response(200, json={"token_type": "Bearer"}),
    "our own secret refused": lambda: httpx.Response(401, json={"error": "invalid_client"}),
    "says later": lambda: httpx.Response(400, json={"error": "temporarily_unavailable"}),
    "unknown error": lambda: httpx.Response(400, json={"error": "quota_reached"}),
}


@pytest.mark.parametrize("answer", PASSING)
async def test_trouble_that_may_pass_keeps_the_session(world, answer):
    """What users complain about, 2: only a healthy "no" ends a session; the lease is free, the tokens are as before."""
    keys = await sign_in(world)
    world.network.fails = [PASSING[answer]()]
    before = await world.connection(keys.access)
    assert isinstance(await refresh(world, keys), Unreachable)
    assert await world.connection(keys.access) == before
    assert await alive(world, keys) == [True]
    assert token(world, await refresh(world, keys)) == "access-2"


async def test_a_refusal_ends_the_connection_and_its_families_at_once(world):
    """Design decision 17: all that hung on it, and nothing else; cached admissions as well."""
    first, second = await sign_in(world), await sign_in(world, client="other")
    other = await sign_in(world, permissions=("read", "write"))
    for keys in (first, second, other):
        await world.admit(keys.access, "tokens")
    world.network.good.discard("refresh-2")
    assert await refresh(world, first) == Ended("provider_refused_refresh")
    ended = await world.connection(first.access)
    assert (ended.ended_at, ended.ended_reason) == (NOW, "provider_refused_refresh")
    assert await alive(world, first, second, other) == [False, False, True]
    for keys in (first, second):
        with pytest.raises(KeyInvalid):
            await world.admit(keys.access, "tokens")
    await world.admit(other.access, "tokens")
    assert await refresh(world, first) == Ended("provider_refused_refresh")
    assert len(world.network.asked("/refresh")) == 1


async def test_after_the_end_a_new_sign_in_begins_anew(world):
    """A new connection; the ended one stays as it is."""
    keys = await sign_in(world)
    world.network.good.clear()
    await refresh(world, keys)
    again = await sign_in(world)
    assert (await world.connection(again.access)).id != (await world.connection(keys.access)).id
    await world.admit(again.access, "tokens")


async def test_a_sign_in_during_a_refusal_is_not_ended_by_it(world):
    """What the provider refused were the old tokens: a new sign-in often is what invalidates them."""
    keys = await sign_in(world)
    world.network.open.clear()
    waiting = asyncio.create_task(refresh(world, keys))
    await asyncio.sleep(0.05)
    again = await sign_in(world)
    world.network.good.discard("refresh-1")
    world.network.open.set()
    assert token(world, await waiting) == "access-2"
    assert await alive(world, keys, again) == [True, True]
    await world.admit(again.access, "tokens")


@pytest.mark.parametrize("with_refresh_token", [True, False])
async def test_a_sign_in_during_a_refresh_wins(world, with_refresh_token):
    """Its tokens are the newer ones; if it brought no refresh token, the rotated one is the only one that works."""
    keys = await sign_in(world)
    world.network.open.clear()
    waiting = asyncio.create_task(refresh(world, keys))
    await asyncio.sleep(0.05)
    world.network.gives_refresh_token = with_refresh_token
    await sign_in(world)
    world.network.open.set()
    assert token(world, await waiting) == "access-2"
    assert token(world, await refresh(world, keys)) == "access-4"


# --- a crash (design decision 17) -------------------------------------------------------------------------------------


async def crashed(world, keys, *, rotated):
    """Another process leased the connection, asked the provider perhaps, and died."""
    connection = await world.connection(keys.access)
    async with world.gateway.database.write() as db:
        lease = {"version": connection.version, "owner": "dead", "until": NOW + module.LEASE_SECONDS, "now": NOW}
        assert await store.lease_connection(db, connection.id, **lease)
    if rotated:
        world.network.good.clear()


async def test_a_crashed_owner_is_taken_over_after_its_lease(world):
    """Nobody else asks while the lease runs; then one does."""
    keys = await sign_in(world)
    await crashed(world, keys, rotated=False)
    waiting = asyncio.create_task(refresh(world, keys))
    world.clock.advance(module.LEASE_SECONDS - 1)
    await asyncio.sleep(0.1)
    assert (waiting.done(), world.network.asked("/refresh")) == (False, [])
    world.clock.advance(1)
    assert token(world, await waiting) == "access-2"
    assert len(world.network.asked("/refresh")) == 1


async def test_a_rotation_that_was_lost_in_a_crash_ends_the_connection(world):
    """It cannot be hidden: tried once, then it ends under a name of its own, so that an operator sees the cause."""
    keys = await sign_in(world)
    await crashed(world, keys, rotated=True)
    world.clock.advance(module.LEASE_SECONDS)
    assert await refresh(world, keys) == Ended("provider_refresh_lost")
    assert (await world.family(keys.family)).revoked_reason == "provider_refresh_lost"
    assert len(world.network.asked("/refresh")) == 1


@pytest.mark.parametrize(("name", "seconds"), [("github", 30), ("google", 40), ("salesforce", 50)])
async def test_a_lease_outlasts_the_refresh(world, name, seconds):
    """Each call may take ten seconds, and two owners at once would spend one refresh token twice."""
    provider = invented_provider(name, catalog.load(name, Path()).raw, {})
    gateway = structs.replace(world.gateway, providers={name: provider})
    connection = structs.replace(await world.connection((await sign_in(world)).access), provider=name)
    assert module._lease_seconds(gateway, connection) == seconds


async def test_a_lease_that_never_ends_is_waited_for_and_no_longer(world, monkeypatch):
    """A request is answered in bounded time, whatever the other process does."""
    keys = await sign_in(world)
    await crashed(world, keys, rotated=False)
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.1)
    assert await refresh(world, keys) == Unreachable("refresh_busy")


@pytest.mark.parametrize("change", ["provider gone", "sealing key gone"])
async def test_what_cannot_be_refreshed_any_more_ends(world, change):
    """The config changed: the reason says which."""
    keys = await sign_in(world)
    if change == "provider gone":
        other, reason = world.as_another_process(providers={}), "provider_token_expired"
    else:
        other, reason = world.as_another_process(sealer=Sealer([Secret("n" * 43)])), "sealing_key_gone"
    assert await refresh(other, keys) == Ended(reason)
    assert await alive(world, keys) == [False]


# --- the last family --------------------------------------------------------------------------------------------------


async def test_with_the_last_family_the_provider_is_told(world):
    """Design decision 12, RFC 7009: once, with the refresh token; sibling families keep the connection until then."""
    first, second = await sign_in(world), await sign_in(world, client="other")
    await world.revoke(first.refresh)
    assert world.network.asked("/revoke") == []
    await world.admit(second.access, "tokens")
    await world.revoke(second.refresh, client_id="other")
    await world.revoke(second.refresh, client_id="other")
    ((form),) = world.network.asked("/revoke")
    assert form["token"] == "refresh-2"
    assert (await world.connection(first.access)).ended_reason == "unused"


async def test_revoking_an_access_token_keeps_the_connection(world):
    """The family lives, and needs it at the next refresh."""
    keys = await sign_in(world)
    await world.revoke(keys.access)
    assert world.network.asked("/revoke") == []


async def test_attack_provider_revocation_kills_no_sibling(world):
    """Another scope set is another connection: it is not revoked along."""
    narrow, wide = await sign_in(world), await sign_in(world, permissions=("read", "write"))
    await world.revoke(narrow.refresh)
    assert [form["token"] for form in world.network.asked("/revoke")] == ["refresh-1"]
    assert token(world, await refresh(world, wide)) == "access-3"


async def test_reuse_and_code_replay_revoke_at_the_provider_too(world):
    """Whatever ends the last family: the provider's tokens must not outlive it."""
    keys = await sign_in(world)
    await world.refresh(keys.refresh)
    world.clock.advance(61)
    with pytest.raises(Exception, match="refresh_token_reused"):
        await world.refresh(keys.refresh)
    assert [form["token"] for form in world.network.asked("/revoke")] == ["refresh-1"]


async def test_a_provider_that_cannot_revoke_stops_nothing(world):
    """RFC 7009 §2.2.1: tried, logged, and the client's revocation is a success all the same."""
    keys = await sign_in(world)

    async def down(_):
        raise httpx.ConnectError("refused")

    world.gateway.outbound._transport.handler = down
    await world.revoke(keys.refresh)
    assert await alive(world, keys) == [False]
    async with world.gateway.database.read() as db:
        assert await db.scalar(select(table.c.ended_reason)) == "unused"


async def test_a_rotation_survives_a_failure_after_it(world, monkeypatch):
    """The provider gave a new refresh token and a further call failed: the old one is spent, so the new one is kept."""
    keys = await sign_in(world)

    def half(provider, tokens, **_):
        renewed = Tokens(access_token=tokens.access_token, refresh_token=Secret("refresh-new"))
        return ProviderFailed("refused", "provider_refused", "", renewed)
        yield

    with monkeypatch.context() as patch:
        patch.setattr(module.wire, "refresh", half)
        assert await refresh(world, keys) == Unreachable("provider_refused")
    world.network.good = {"refresh-new"}
    assert token(world, await refresh(world, keys)) == "access-2"
    assert [call["refresh_token"] for call in world.network.asked("/refresh")] == ["refresh-new"]
