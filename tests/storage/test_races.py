"""Single use under real concurrency: of any number of callers exactly one wins (house style 5)."""

import pytest
from sqlalchemy import select

from storage.contender import RACES, race
from storage.records import add_code, add_family, add_login, add_refresh
from vestibule.storage.tables import refreshes, revocations


async def prepare(database):
    await add_family(database, connection=True)
    await add_code(database)
    await add_refresh(database)
    await add_login(database)


@pytest.mark.parametrize("name", RACES)
async def test_one_of_twenty_tasks_wins(database, name):
    """RFC 6749 §4.1.2 (codes), RFC 9700 §4.14.2 (refresh tokens), design decision 1 (logins), 17 (lease)."""
    await prepare(database)
    assert len(await race(database, name, "here")) == 1
    assert await race(database, name, "again") == []


@pytest.mark.parametrize("name", RACES)
async def test_one_of_two_processes_wins(database, url, contenders, name):
    """The same between processes: twenty tasks in each of two, and one winner among the forty."""
    await prepare(database)
    for number, contender in enumerate(contenders):
        contender.ask(url=url, do=name, runner=str(number))
    winners = [winner for contender in contenders for winner in contender.answer()]
    assert len(winners) == 1
    async with database.read() as db:
        if name == "use_refresh":
            assert await db.scalar(select(refreshes.c.successor_sealed)) == winners[0].encode()
        if name == "revoke_family":
            assert len((await db.execute(select(revocations))).all()) == 1


@pytest.mark.parametrize("attempt", range(4))
async def test_migrating_from_two_processes_at_once(url, contenders, attempt):
    """Operations, migrations: both succeed; the one that came second waited and found nothing to do."""
    for contender in contenders:
        contender.ask(url=url, do="migrate")
    assert [contender.answer() for contender in contenders] == ["migrated", "migrated"]
