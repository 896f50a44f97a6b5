"""Logins: the step is the guard."""

import pytest

from storage.records import LOGIN, add_login
from vestibule.storage import logins


async def advance(database, step, following, slug=None, login_id="login-1"):
    async with database.write() as db:
        return await logins.advance_login(db, login_id, step, following, slug)


async def test_a_login_comes_back_as_it_was(database):
    """Nested request, sealed verifier and all."""
    await add_login(database)
    async with database.read() as db:
        assert await logins.find_login(db, "login-1") == LOGIN
        assert await logins.find_login(db, "login-2") is None


async def test_attack_state_replayed(database):
    """Design decision 1: each step is left once; zero rows means a replay."""
    await add_login(database)
    assert await advance(database, "at_provider", "redeeming")
    assert not await advance(database, "at_provider", "redeeming")
    assert await advance(database, "redeeming", "identifying")
    assert await advance(database, "identifying", "done")
    assert not await advance(database, "identifying", "failed", "late")
    async with database.read() as db:
        assert (await logins.find_login(db, "login-1")).step == "done"


@pytest.mark.parametrize(("step", "login_id"), [("redeeming", "login-1"), ("at_provider", "login-2"), ("", "login-1")])
async def test_only_the_named_login_at_the_named_step_moves(database, step, login_id):
    """`UPDATE … WHERE id = ? AND step = ?`."""
    await add_login(database)
    assert not await advance(database, step, "done", login_id=login_id)


async def test_a_failure_leaves_its_reason(database):
    """For support: the slug of what went wrong stays on the row."""
    await add_login(database)
    assert await advance(database, "at_provider", "failed", "provider_access_denied")
    async with database.read() as db:
        login = await logins.find_login(db, "login-1")
    assert (login.step, login.error_slug) == ("failed", "provider_access_denied")
