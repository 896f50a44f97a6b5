"""Housekeeping: what nobody can use any more ends, at the provider too, and is deleted; what lives is left alone."""

import asyncio

from sqlalchemy import func, select

from vestibule.service import janitor
from vestibule.storage.tables import codes, families, keys, logins, refreshes

DAY = 86_400


async def rows(world):
    async with world.gateway.database.read() as db:
        tables = (families, keys, refreshes, codes, logins)
        return {table.name: await db.scalar(select(func.count()).select_from(table)) for table in tables}


async def test_what_lives_is_left_alone(world):
    """A family with a key or a refresh token that still works is not idle."""
    signed_in = await world.sign_in(route="tokens")
    assert await janitor.clean(world.gateway) == 0
    assert (await world.family(signed_in.family)).revoked_at is None
    assert world.network.asked("/revoke") == []


async def test_an_idle_family_ends_with_its_tokens_at_the_provider(world):
    """Design decision 12: provider tokens are revoked with the last family, also when nobody signed out."""
    idle = await world.sign_in(route="tokens")
    world.clock.advance(world.gateway.lifetimes.refresh_token + 1)
    await janitor.clean(world.gateway)
    assert (await world.family(idle.family)).revoked_reason == "idle"
    assert len(world.network.asked("/revoke")) == 1


async def test_what_is_over_is_deleted_after_a_week(world):
    """It stays that long for whoever looks into an incident; then no row of the sign-in is left but user and grant."""
    await world.sign_in(route="tokens")
    world.clock.advance(world.gateway.lifetimes.refresh_token + 1)
    await janitor.clean(world.gateway)
    assert (await rows(world))["families"] == 1
    world.clock.advance(8 * DAY)
    assert await janitor.clean(world.gateway) > 0
    assert set((await rows(world)).values()) == {0}


async def test_a_round_that_fails_is_followed_by_another(world, monkeypatch):
    """A locked database must not end housekeeping for good."""
    rounds, again = [], asyncio.Event()

    async def broken(_):
        rounds.append(1)
        if len(rounds) == 3:
            again.set()
        raise OSError("disk")

    monkeypatch.setattr(janitor, "clean", broken)
    monkeypatch.setattr(janitor, "EVERY_SECONDS", 0.001)
    task = asyncio.create_task(janitor.run(world.gateway))
    await asyncio.wait_for(again.wait(), 5)
    task.cancel()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError
