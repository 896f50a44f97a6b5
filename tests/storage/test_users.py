"""Users: who is the same person, and what a new sign-in changes."""

import asyncio

import pytest
from msgspec import structs
from sqlalchemy import func, select

from storage.records import ADA, NOW
from vestibule.storage import users
from vestibule.storage.tables import users as table


async def save(database, new_id, identity, now=NOW):
    async with database.write() as db:
        return await users.save_user(db, new_id, identity, now)


async def test_a_first_sign_in_makes_a_user(database):
    """Every claim is kept; the record gives the identity back."""
    saved = await save(database, "user-1", ADA)
    assert saved.id == "user-1"
    assert saved.identity() == ADA
    async with database.read() as db:
        assert await users.find_user(db, "user-1") == saved
        assert await users.find_user(db, "user-2") is None


async def test_a_later_sign_in_overwrites_the_claims_and_nothing_else(database):
    """Offboarding and group changes take effect at the next sign-in; what a provider no longer says is gone."""
    await save(database, "user-1", ADA)
    changed = structs.replace(ADA, email=None, email_verified=False, name="Countess", login="", picture=None, groups=())
    saved = await save(database, "user-2", changed, NOW + 5)
    assert saved.id == "user-1"
    assert saved.identity() == changed
    async with database.read() as db:
        assert (await db.execute(select(table.c.created_at, table.c.seen_at))).one() == (NOW, NOW + 5)


async def test_groups_that_were_not_asked_for_stay_as_they_are(database):
    """None is not (): a sign-in without the scope for groups must not end other routes' access, nor invent any."""
    assert (await save(database, "user-2", structs.replace(ADA, subject="2", groups=None))).groups == ()
    await save(database, "user-1", ADA)
    assert (await save(database, "user-1", structs.replace(ADA, groups=None))).groups == ADA.groups


@pytest.mark.parametrize(
    "change",
    [{"provider": "gitlab"}, {"tenant": "t"}, {"subject": "2"}, {"subject": "1 "}, {"subject": "\uff11"}],
    ids=str,
)
async def test_attack_no_linking(database, change):
    """Design decision 7: (provider, tenant, subject) is the person; the same e-mail and login make no link."""
    await save(database, "user-1", ADA)
    assert (await save(database, "user-2", structs.replace(ADA, **change))).id == "user-2"


async def test_racing_first_sign_ins_are_one_user(database):
    """Two browser tabs: both get the same row."""
    saved = await asyncio.gather(*(save(database, f"user-{n}", ADA) for n in range(20)))
    assert len({user.id for user in saved}) == 1
    async with database.read() as db:
        assert await db.scalar(select(func.count()).select_from(table)) == 1


async def test_a_name_that_is_told_once_is_kept(database):
    """Apple tells the name at the first sign-in only; a provider that says nothing about it does not take it away."""
    await save(database, "user-1", ADA)
    assert (await save(database, "user-1", structs.replace(ADA, name=None))).name == ADA.name
